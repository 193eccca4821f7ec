"""Replies: publishers who want to hear what becomes of their jobs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

ID = sa.String(length=36).with_variant(postgresql.UUID(as_uuid=False), "postgresql")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "replies",
        sa.Column("id", ID, nullable=False),
        sa.Column("reply_to", sa.Text(), nullable=False),
        sa.Column("job_id", ID, nullable=False),
        sa.Column("correlation_id", sa.Text()),
        sa.Column("receipt_sent_at", TIME),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", "reply_to"),
    )
