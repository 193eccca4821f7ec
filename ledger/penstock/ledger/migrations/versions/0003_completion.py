"""On Postgres a job is completed by a function, which the COMMIT can follow without waiting for its answer.

A row that the fence refuses is an exception: it aborts the transaction before the COMMIT that was sent along. In the
function the planner takes the index, also where a table that is still small has a plan made that stays while it grows.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

COMPLETE = """
    CREATE FUNCTION penstock_complete(job uuid, fence bigint, outcome bytea) RETURNS void
    LANGUAGE plpgsql SET enable_seqscan = off AS $$
    BEGIN
        UPDATE jobs SET state = 'completed', attempts = attempts + 1, finished_at = now(), result = outcome
        WHERE id = job AND token = fence AND state = 'executing';
        IF NOT FOUND THEN
            RAISE EXCEPTION 'job % has another owner', job USING ERRCODE = 'PS001';
        END IF;
    END
    $$
"""
HOLD = """
    CREATE FUNCTION penstock_hold(job uuid, fence bigint) RETURNS void
    LANGUAGE plpgsql SET enable_seqscan = off AS $$
    BEGIN
        PERFORM FROM jobs WHERE id = job AND token = fence AND state = 'executing' FOR UPDATE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'job % has another owner', job USING ERRCODE = 'PS001';
        END IF;
    END
    $$
"""


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute(COMPLETE)
        op.execute(HOLD)
