"""Jobs of renamed types share their dedup keys; those of unknown ones are given up after a while."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("jobs", sa.Column("unknown_since", TIME))
    op.add_column("jobs", sa.Column("key_type", sa.Text()))
