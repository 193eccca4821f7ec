"""Due rows on their way to the broker. Follows `transitions.mark_dispatched` and `transitions.suspect_lost`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from penstock.ledger.batch import within_bytes
from penstock.ledger.database import Session, Statement
from penstock.ledger.dialects import Columns, Dialect
from penstock.schemas import Message

# A dispatched row that nobody claims is published again after this long, then after twice as long, and so on.
REDISPATCH_SECONDS = 60
REDISPATCH_DOUBLINGS_MAX = 6
# How far due rows of a queue are counted: what looks every second must not read the whole backlog.
DUE_COUNT_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Due:
    """A due row as it was seen: a mark lands only while state and number are still these."""

    message: Message
    queue: str
    state: str
    dispatch_number: int
    late_seconds: float
    """since when it was due"""


def select_due(session: Session, *, queue: str, limit: int) -> list[Due]:
    """Up to `limit` due rows that are not on their way, the longest due first. Holds no lock.

    Fewer, if their payloads are large: at most a batch of `BATCH_BYTES_MAX`.
    """
    return [_due(row) for row in session.run(_SELECT, queue=queue, limit=limit)]


def mark_dispatched(session: Session, sent: Sequence[Due]) -> int:
    """The broker has confirmed these; returns how many had not moved on meanwhile."""
    rows = sorted((due.message.id, due.state, due.dispatch_number) for due in sent)
    return session.run(_MARK, rows).rowcount if rows else 0


def count_dispatched(session: Session, queue: str) -> int:
    """How many rows of the queue are dispatched and not claimed yet."""
    return int(session.run(_COUNT, queue=queue).scalar_one())


def queues_to_look_at(session: Session) -> list[str]:
    """Queues with due rows that are not on their way; costs the same however many rows there are."""
    return [row.queue for row in session.run(_QUEUES_TO_LOOK_AT)]


def due_queues(session: Session) -> list[tuple[str, int, float]]:
    """(queue, due rows not on their way, seconds since the oldest became due) of every queue that has some.

    Of more than `DUE_COUNT_MAX` rows it says `DUE_COUNT_MAX`: some 6 ms for each such queue.
    """
    return [(row.queue, row.jobs, float(row.age)) for row in session.run(_QUEUES)]


def dispatched_queues(session: Session) -> list[str]:
    """Queues with rows that are dispatched and not claimed yet."""
    return [row.queue for row in session.run(_DISPATCHED_QUEUES)]


def suspect_lost(session: Session, *, queue: str, older_seconds: float) -> int:
    """The queue was seen empty: what was dispatched longer ago than this is not in it. Returns how many rows."""
    return session.run(_SUSPECT_LOST, queue=queue, older=older_seconds).rowcount


def suspect_overdue(session: Session) -> int:
    """The fallback at growing intervals, for what no other sign finds. Returns how many rows."""
    return session.run(_SUSPECT_OVERDUE).rowcount


def unmark_all(session: Session) -> int:
    """The broker was lost: every dispatched row is dispatched again. Returns how many rows."""
    return session.run(_UNMARK_ALL).rowcount


def _due(row: object) -> Due:
    it: Any = row
    message = Message(
        id=it.id,
        type=it.type,
        version=it.version,
        body=bytes(it.payload),
        key=it.dedup_key,
        tenant=it.tenant,
        correlation_id=it.correlation_id,
        traceparent=it.traceparent,
        app_id=it.app_id,
    )
    return Due(message, it.queue, it.state, it.dispatch_number, float(it.late_seconds))


_WAITING = "jobs.state IN ('scheduled', 'available', 'retryable')"


def _select(dialect: Dialect) -> str:
    due = f"""
        SELECT id, due_at, {dialect.size("payload")} AS size FROM jobs
        WHERE queue = :queue AND {_WAITING} AND dispatched_at IS NULL AND due_at <= {dialect.now} AND NOT suspect
        ORDER BY due_at LIMIT :limit
    """
    return f"""
        WITH due AS {dialect.materialized} ({within_bytes(due)})
        SELECT CAST(jobs.id AS text) AS id, jobs.type, jobs.version, jobs.queue, jobs.payload, jobs.state,
            jobs.dispatch_number, jobs.dedup_key, jobs.tenant, jobs.correlation_id, jobs.traceparent, jobs.app_id,
            {dialect.seconds_since("jobs.due_at")} AS late_seconds
        FROM due JOIN jobs ON jobs.id = due.id
        ORDER BY due.due_at
    """


_SELECT = Statement(_select)

_SEEN: Columns = {"id": "uuid", "state": "text", "dispatch_number": "int"}

_MARK = Statement(
    lambda dialect: (
        f"""
        UPDATE jobs SET dispatched_at = {dialect.now}, dispatch_number = jobs.dispatch_number + 1
        FROM {dialect.rows("input", _SEEN)}
        WHERE jobs.id = input.id AND jobs.state = input.state AND jobs.dispatch_number = input.dispatch_number
    """
    ),
    _SEEN,
)

_ON_THEIR_WAY = f"{_WAITING} AND jobs.dispatched_at IS NOT NULL"
_NOT_ON_THEIR_WAY = f"{_WAITING} AND jobs.dispatched_at IS NULL"

_COUNT = Statement(lambda _: f"SELECT COUNT(*) FROM jobs WHERE queue = :queue AND {_ON_THEIR_WAY}")


def queues_with(condition: str) -> str:
    """A recursive CTE `queues(queue)`: the queues of rows under the condition of a partial index that begins with
    `queue`. It goes from queue to queue through the index, however many rows each has."""
    first = f"SELECT jobs.queue FROM jobs WHERE {condition} ORDER BY jobs.queue LIMIT 1"
    following = (
        f"SELECT jobs.queue FROM jobs WHERE {condition} AND jobs.queue > queues.queue ORDER BY jobs.queue LIMIT 1"
    )
    return f"""
        WITH RECURSIVE queues(queue) AS (
            SELECT ({first})
            UNION ALL
            SELECT ({following}) FROM queues WHERE queues.queue IS NOT NULL
        )
    """


def _due_queues(dialect: Dialect) -> str:
    # In the order of the index, or a bitmap of all that is due would be made first. Suspects are counted: the index
    # does not know them, and to look up each row costs more than all the rest. A queue of nothing else has no oldest.
    due = f"FROM jobs WHERE jobs.queue = queues.queue AND {_NOT_ON_THEIR_WAY} AND jobs.due_at <= {dialect.now}"
    return f"""
        {queues_with(_NOT_ON_THEIR_WAY)}, found AS {dialect.materialized} (
            SELECT queues.queue,
                (SELECT COUNT(*) FROM (SELECT 1 {due} ORDER BY jobs.due_at LIMIT {DUE_COUNT_MAX}) AS counted) AS jobs,
                (SELECT jobs.due_at {due} AND NOT jobs.suspect ORDER BY jobs.due_at LIMIT 1) AS oldest
            FROM queues WHERE queues.queue IS NOT NULL
        )
        SELECT queue, jobs, {dialect.seconds_since("oldest")} AS age FROM found WHERE oldest IS NOT NULL ORDER BY queue
    """


_QUEUES = Statement(_due_queues)

_QUEUES_TO_LOOK_AT = Statement(
    lambda dialect: (
        f"""
        {queues_with(_NOT_ON_THEIR_WAY)}
        SELECT queue FROM queues WHERE EXISTS (
            SELECT 1 FROM jobs WHERE jobs.queue = queues.queue AND {_NOT_ON_THEIR_WAY} AND jobs.due_at <= {dialect.now}
        ) ORDER BY queue
    """
    )
)

_DISPATCHED_QUEUES = Statement(
    lambda _: f"{queues_with(_ON_THEIR_WAY)} SELECT queue FROM queues WHERE queue IS NOT NULL"
)

_SUSPECT_LOST = Statement(
    lambda dialect: (
        f"""
        UPDATE jobs SET dispatched_at = NULL
        WHERE queue = :queue AND {_ON_THEIR_WAY} AND dispatched_at < {dialect.later("-:older")}
    """
    )
)


def _overdue(dialect: Dialect) -> str:
    # The number moves by one with every mark, and with every claim: it grows at least as fast as the tries.
    most = REDISPATCH_DOUBLINGS_MAX
    doublings = f"CASE WHEN dispatch_number > {most} THEN {most} ELSE dispatch_number - 1 END"
    return f"""
        UPDATE jobs SET dispatched_at = NULL
        WHERE {_ON_THEIR_WAY}
            AND {dialect.seconds_since("dispatched_at")} > {REDISPATCH_SECONDS} * (1 << ({doublings}))
    """


_SUSPECT_OVERDUE = Statement(_overdue)

_UNMARK_ALL = Statement(lambda _: f"UPDATE jobs SET dispatched_at = NULL WHERE {_ON_THEIR_WAY}")
