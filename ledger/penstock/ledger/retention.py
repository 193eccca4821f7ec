"""What has ended long enough ago leaves, in cheap batches. Ids are in time order, so the primary key finds it.

Dead letters stay until somebody replays or discards them.
"""

import time
from datetime import UTC, datetime, timedelta

from penstock.ledger.admission_statements import GIVE_BACK_KEY
from penstock.ledger.database import Session, Statement, retry_serialization
from penstock.ledger.dialects import Columns

PRUNE_BATCH_JOBS = 1000
# Finished jobs are kept this long; a delivery whose id is older and unknown is not run but quarantined.
MEMORY = timedelta(days=30)


def prune(session: Session, *, seconds: float) -> bool:
    """Delete what may leave, batch by batch, for about so long; whether there is more."""
    until = time.monotonic() + seconds
    while max(prune_jobs(session), prune_keys(session)) == PRUNE_BATCH_JOBS:
        if time.monotonic() >= until:
            return True
    return False


@retry_serialization
def prune_jobs(session: Session, *, memory: timedelta = MEMORY) -> int:
    """Delete one batch of jobs that completed or were cancelled longer ago than `memory`; returns how many."""
    floor = oldest_remembered_id(datetime.now(UTC) - memory)
    with session.transaction():
        rows = session.run(
            _PRUNE_JOBS, floor=floor, memory_seconds=memory.total_seconds(), limit=PRUNE_BATCH_JOBS
        ).all()
        gone = [(row.id,) for row in rows]
        # The key of a cancelled job is free; without its row the key would absorb the next publish for nothing.
        free = [
            (row.key_type or row.type, row.dedup_key, row.id)
            for row in rows
            if row.state == "cancelled" and row.dedup_key
        ]
        if free:
            session.run(GIVE_BACK_KEY, free)
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
                AND finished_at <= {dialect.later("-:memory_seconds")}
            ORDER BY id LIMIT :limit {dialect.skip_locked}
        )
        RETURNING CAST(id AS text) AS id, type, key_type, dedup_key, state
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

# A minute later than it could: whoever takes a key over at this moment makes it young enough to stay. In the order of
# the index, so that a batch reads no more than it takes (nobody is waited for, so that no other order is needed), and
# with the state asked for each key: of a NOT EXISTS the planner makes a walk over all jobs.
_PRUNE_KEYS = Statement(
    lambda dialect: (
        f"""
        DELETE FROM dedup_keys WHERE (type, key) IN (
            SELECT dedup_keys.type, dedup_keys.key FROM dedup_keys
            WHERE expires_at <= {dialect.later("-60")} AND COALESCE(
                (SELECT jobs.state FROM jobs WHERE jobs.id = dedup_keys.job_id), 'completed'
            ) IN ('completed', 'cancelled', 'dead')
            ORDER BY dedup_keys.expires_at LIMIT :limit {dialect.skip_locked}
        )
    """
    )
)
