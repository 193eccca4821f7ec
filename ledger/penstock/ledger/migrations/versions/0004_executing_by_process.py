"""The index of what is executing is for those who ask by process; a batch that is settled knows its ids."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

WHERE = sa.text("state = 'executing' AND process_id IS NOT NULL")


def upgrade() -> None:
    op.drop_index("jobs_executing", "jobs")
    op.create_index("jobs_executing", "jobs", ["process_id"], postgresql_where=WHERE, sqlite_where=WHERE)
