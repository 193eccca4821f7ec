"""The ledger of a later release: everything of this one, and a migration more."""

from pathlib import Path

from alembic import command

from penstock.ledger import migrations
from penstock.ledger.database import Ledger
from penstock.ledger.revision import known_revisions

ADDS = '''
"""A column, an index, a table that follows each job, and functions that fill the column."""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{before}"
branch_labels = None
depends_on = None

COMPLETE = """
    CREATE OR REPLACE FUNCTION penstock_complete(job uuid, fence bigint, outcome bytea) RETURNS void
    LANGUAGE plpgsql SET enable_seqscan = off AS $$
    BEGIN
        UPDATE jobs SET state = 'completed', attempts = attempts + 1, finished_at = now(), result = outcome,
            region = 'north'
        WHERE id = job AND token = fence AND state = 'executing';
        IF NOT FOUND THEN
            RAISE EXCEPTION 'job % has another owner', job USING ERRCODE = 'PS001';
        END IF;
    END
    $$
"""
FOLLOW = """
    CREATE FUNCTION penstock_follow() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO seen (job_id, state) VALUES (NEW.id, NEW.state);
        RETURN NULL;
    END
    $$
"""


def upgrade() -> None:
    op.add_column("jobs", sa.Column("region", sa.Text()))
    op.add_column("processes", sa.Column("release", sa.Text(), server_default="unknown"))
    op.create_index("jobs_by_region", "jobs", ["region"], postgresql_where=sa.text("region IS NOT NULL"))
    op.create_table("seen", sa.Column("job_id", sa.Uuid(), nullable=False), sa.Column("state", sa.Text()))
    op.execute(COMPLETE)
    op.execute(FOLLOW)
    op.execute("CREATE TRIGGER follow AFTER INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION penstock_follow()")
'''


def migrate_to_next(url: str, folder: Path, *, revision: str) -> None:
    """Run the migration on a ledger that this release has made; only on Postgres."""
    folder.mkdir()
    (folder / f"{revision}_next.py").write_text(ADDS.format(revision=revision, before=known_revisions()[-1]))
    own = Path(migrations.__file__).parent / "versions"
    with Ledger(url).session() as session, session.transaction():
        config = migrations._config(session.connection)
        config.set_main_option("version_locations", f"{own}:{folder}")
        command.upgrade(config, "head")
