"""What has ended long enough ago leaves, in cheap batches. Ids are in time order, so the primary key finds it.

Dead letters stay until somebody replays or discards them.
"""

from datetime import UTC, datetime, timedelta

from penstock.ledger.database import Session, Statement, retry_serialization
from penstock.ledger.dialects import Columns

PRUNE_BATCH_JOBS = 1000
# Finished jobs are kept this long; a delivery whose id is older and unknown is not run but quarantined.
MEMORY = timedelta(days=30)


@retry_serialization
def prune_jobs(session: Session, *, memory: timedelta = MEMORY) -> int:
    """Delete one batch of jobs that completed or were cancelled longer ago than `memory`; returns how many."""
    floor = oldest_remembered_id(datetime.now(UTC) - memory)
    with session.transaction():
        gone = [(row.id,) for row in session.run(_PRUNE_JOBS, floor=floor, limit=PRUNE_BATCH_JOBS)]
        if gone:
            for statement in (_PRUNE_ATTEMPTS, _PRUNE_EFFECTS, _PRUNE_ALIASES):
                session.run(statement, gone)
    return len(gone)


@retry_serialization
def prune_keys(session: Session) -> int:
    """Delete one batch of dedup keys that have expired and whose job has ended; returns how many."""
    return session.run(_PRUNE_KEYS, limit=PRUNE_BATCH_JOBS).rowcount


def oldest_remembered_id(floor: datetime) -> str:
    """The smallest UUIDv7 of that moment."""
    stamp = f"{int(floor.timestamp() * 1000):012x}"
    return f"{stamp[:8]}-{stamp[8:]}-7000-8000-000000000000"


_PRUNE_JOBS = Statement(
    lambda dialect: (
        f"""
        DELETE FROM jobs WHERE id IN (
            SELECT id FROM jobs WHERE id < :floor AND state IN ('completed', 'cancelled')
            ORDER BY id LIMIT :limit {dialect.skip_locked}
        )
        RETURNING CAST(id AS text) AS id
    """
    )
)

_GONE: Columns = {"id": "uuid"}

_PRUNE_ATTEMPTS = Statement(
    lambda dialect: f"DELETE FROM attempts WHERE job_id IN (SELECT input.id FROM {dialect.rows('input', _GONE)})", _GONE
)
_PRUNE_EFFECTS = Statement(
    lambda dialect: f"DELETE FROM effects WHERE job_id IN (SELECT input.id FROM {dialect.rows('input', _GONE)})", _GONE
)
_PRUNE_ALIASES = Statement(
    lambda dialect: f"DELETE FROM aliases WHERE job_id IN (SELECT input.id FROM {dialect.rows('input', _GONE)})", _GONE
)

_PRUNE_KEYS = Statement(
    lambda dialect: (
        f"""
        DELETE FROM dedup_keys WHERE (type, key) IN (
            SELECT dedup_keys.type, dedup_keys.key FROM dedup_keys
            WHERE expires_at <= {dialect.now} AND NOT EXISTS (
                SELECT 1 FROM jobs
                WHERE jobs.id = dedup_keys.job_id AND jobs.state NOT IN ('completed', 'cancelled', 'dead')
            )
            ORDER BY type, key LIMIT :limit {dialect.skip_locked}
        )
    """
    )
)
