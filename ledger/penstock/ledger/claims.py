"""Claims straight from the ledger, without a broker: the embedded transport and the suspect lane."""

from penstock.ledger.admission import Claim, read_claim
from penstock.ledger.admission_statements import CLAIMED_COLUMNS, claiming
from penstock.ledger.batch import within_bytes
from penstock.ledger.database import Session, Statement, retry_serialization
from penstock.ledger.dialects import Columns, Dialect


@retry_serialization
def claim_due(
    session: Session, *, queues: list[str], limit: int, token: int, process_id: str, suspects: bool = False
) -> list[Claim]:
    """Claim up to `limit` due jobs of these queues, the longest due first; suspects only, or none of them.

    Fewer, if their payloads are large: at most a batch of `BATCH_BYTES_MAX`.
    """
    statement = _CLAIM_SUSPECTS if suspects else _CLAIM_DUE
    with session.transaction():
        rows = session.run(
            statement, [(queue,) for queue in queues], limit=limit, token=token, process_id=process_id
        ).all()
    return sorted((read_claim(row, token) for row in rows), key=lambda claim: (claim.due_at, claim.id))


def read_back(session: Session, *, token: int, process_id: str) -> list[Claim]:
    """What a claim whose reply was lost has got."""
    return [read_claim(row, token) for row in session.run(_READ_BACK, token=token, process_id=process_id)]


def executing_under(session: Session, process_id: str) -> list[tuple[str, int]]:
    """(job id, token) of everything that the ledger believes this process to hold."""
    return [(row.id, row.token) for row in session.run(_EXECUTING, process_id=process_id)]


def has_suspects(session: Session, queues: list[str]) -> bool:
    """Whether a suspect waits in one of these queues."""
    return session.run(_SUSPECTS, [(queue,) for queue in queues]).first() is not None


def next_due_seconds(session: Session, queues: list[str]) -> float | None:
    """Seconds until the next job of these queues is due, below zero if one is; None if none waits."""
    row = session.run(_NEXT_DUE, [(queue,) for queue in queues]).one()
    return None if row.seconds is None else -float(row.seconds)


_QUEUES: Columns = {"queue": "text"}
_WAITING = "jobs.state IN ('scheduled', 'available', 'retryable')"


def _claim_due(dialect: Dialect, *, suspects: bool) -> str:
    # Undispatched only: what is on its way through a broker comes back from there.
    which = (
        "jobs.suspect AND jobs.dispatched_at IS NULL" if suspects else "NOT jobs.suspect AND jobs.dispatched_at IS NULL"
    )
    wanted = f"{_WAITING} AND jobs.due_at <= {dialect.now} AND {which}"
    return f"""
        WITH due AS {dialect.materialized} ({within_bytes(_longest_due(dialect, wanted))})
        UPDATE jobs SET {claiming(dialect)}
        FROM due WHERE jobs.id = due.id
        RETURNING {CLAIMED_COLUMNS}
    """


def _longest_due(dialect: Dialect, wanted: str) -> str:
    queues = dialect.rows("input", _QUEUES)
    columns = f"jobs.id, jobs.due_at, {dialect.size('jobs.payload')} AS size"
    if dialect.name == "postgresql":
        # Each queue from its index, as far as the limit: a join would read and sort the whole backlog.
        return f"""
            SELECT picked.id, picked.due_at, picked.size FROM {queues} CROSS JOIN LATERAL (
                SELECT {columns} FROM jobs WHERE jobs.queue = input.queue AND {wanted}
                ORDER BY jobs.due_at LIMIT :limit {dialect.skip_locked}
            ) AS picked
            ORDER BY picked.due_at LIMIT :limit
        """
    return f"""
        SELECT {columns} FROM jobs WHERE jobs.queue IN (SELECT input.queue FROM {queues}) AND {wanted}
        ORDER BY jobs.due_at LIMIT :limit
    """


_CLAIM_DUE = Statement(lambda dialect: _claim_due(dialect, suspects=False), _QUEUES)
_CLAIM_SUSPECTS = Statement(lambda dialect: _claim_due(dialect, suspects=True), _QUEUES)

_READ_BACK = Statement(
    lambda _: (
        f"""
        SELECT {CLAIMED_COLUMNS} FROM jobs
        WHERE jobs.state = 'executing' AND jobs.process_id = :process_id AND jobs.token = :token
    """
    )
)

_EXECUTING = Statement(
    lambda _: (
        """
        SELECT CAST(id AS text) AS id, token FROM jobs WHERE state = 'executing' AND process_id = :process_id
    """
    )
)

_SUSPECTS = Statement(
    lambda dialect: (
        f"""
        SELECT 1 FROM jobs
        WHERE jobs.suspect AND {_WAITING} AND jobs.due_at <= {dialect.now}
            AND jobs.queue IN (SELECT input.queue FROM {dialect.rows("input", _QUEUES)})
        LIMIT 1
    """
    ),
    _QUEUES,
)

_NEXT_DUE = Statement(
    lambda dialect: (
        f"""
        SELECT MAX({dialect.seconds_since("due.at")}) AS seconds
        FROM (
            SELECT (
                SELECT jobs.due_at FROM jobs
                WHERE jobs.queue = input.queue AND {_WAITING} AND jobs.dispatched_at IS NULL AND NOT jobs.suspect
                ORDER BY jobs.due_at LIMIT 1
            ) AS at
            FROM {dialect.rows("input", _QUEUES)}
        ) AS due
    """
    ),
    _QUEUES,
)
