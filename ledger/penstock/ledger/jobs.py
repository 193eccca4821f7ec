"""Jobs as people see them: list, show, cancel, hurry, count. Follows `transitions.cancel` and `transitions.hurry`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy import func as sql

from penstock.ledger.audit import record
from penstock.ledger.database import Session, Statement, retry_serialization
from penstock.ledger.dialects import Columns, Dialect
from penstock.ledger.dispatches import queues_with
from penstock.ledger.tables import aliases, attempts, dedup_keys, effects, jobs
from penstock.ledger.wakeups import announce

# What may be shown of a job in a list.
SUMMARY = [column for column in jobs.c if column.name not in ("payload", "result", "traceparent", "token")]


def list_jobs(
    session: Session,
    *,
    state: str | None = None,
    type: str | None = None,  # noqa: A002 - the field's word
    queue: str | None = None,
    fingerprint: str | None = None,
    tenant: str | None = None,
    type_globs: Sequence[str] | None = None,
    before: str | None = None,
    limit: int = 100,
) -> list[dict[str, Any]]:
    """The newest first, without payloads; `before` is the id to go on from.

    `type_globs` are names in which `*` stands for anything: what whoever asks may see.
    """
    query = select(*SUMMARY).order_by(jobs.c.id.desc()).limit(limit)
    exact = {"state": state, "type": type, "queue": queue, "fingerprint": fingerprint, "tenant": tenant}
    for column, value in exact.items():
        if value is not None:
            query = query.where(jobs.c[column] == value)
    if type_globs is not None:
        query = query.where(or_(False, *(_matches(session, glob) for glob in type_globs)))
    if before is not None:
        query = query.where(jobs.c.id < before)
    return [dict(row) for row in session.connection.execute(query).mappings()]


def show_job(session: Session, job_id: str) -> dict[str, Any] | None:
    """Everything about one job, by its own id or an alias: the row, its failed attempts, its effects."""
    found = session.connection.execute(select(jobs).where(jobs.c.id == job_id)).mappings().first()
    alias_of = None
    if found is None:
        alias_of = session.connection.execute(select(aliases.c.job_id).where(aliases.c.id == job_id)).scalar()
        if alias_of is None:
            return None
        found = session.connection.execute(select(jobs).where(jobs.c.id == alias_of)).mappings().first()
        if found is None:
            return None
    history = select(attempts).where(attempts.c.job_id == found["id"]).order_by(attempts.c.id)
    steps = select(effects).where(effects.c.job_id == found["id"]).order_by(effects.c.intended_at)
    return {
        **found,
        "alias": job_id if alias_of is not None else None,
        "history": [dict(row) for row in session.connection.execute(history).mappings()],
        "effects": [dict(row) for row in session.connection.execute(steps).mappings()],
    }


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a job is, at a glance."""

    id: str
    state: str
    reason: str | None
    attempts: int


def standings(session: Session, ids: Sequence[str]) -> dict[str, Standing]:
    """How far these jobs are; those that the ledger does not know are left out. Aliases are not looked up."""
    rows = session.run(_STANDINGS, [(job_id,) for job_id in sorted(set(ids))]) if ids else ()
    return {row.id: Standing(row.id, row.state, row.reason, row.attempts) for row in rows}


def key_holder(session: Session, *, type: str, key: str) -> tuple[str, bytes] | None:  # noqa: A002 - the field's word
    """The job that a dedup key belongs to, and its payload; None if there is none, or its row has been pruned."""
    query = (
        select(jobs.c.id, jobs.c.payload)
        .join_from(dedup_keys, jobs, jobs.c.id == dedup_keys.c.job_id)
        .where(dedup_keys.c.type == type, dedup_keys.c.key == key)
    )
    row = session.connection.execute(query).first()
    return None if row is None else (row.id, bytes(row.payload))


@retry_serialization
def cancel_job(session: Session, job_id: str, *, actor: str) -> str:
    """Cancel a job; returns what became of it: `cancelled`, `requested`, or the end state that it is in already.

    An id that was never seen leaves a tombstone, which cancels the job when it arrives.
    """
    with session.transaction():
        record(session, actor=actor, action="cancel", target=job_id)
        target = _first_of(session, job_id)
        if (state := session.run(_CANCEL, id=target).scalar()) is None:
            if session.run(_TOMBSTONE, id=target).rowcount:
                return "cancelled"
            state = session.run(_CANCEL, id=target).scalar()  # it has arrived since
        if state is None:
            return str(session.connection.execute(select(jobs.c.state).where(jobs.c.id == target)).scalar())
        return "requested" if state == "executing" else "cancelled"


@retry_serialization
def hurry_job(session: Session, job_id: str, *, actor: str) -> bool:
    """A job that waits for its time becomes due now; false if it does not wait."""
    with session.transaction():
        record(session, actor=actor, action="retry now", target=job_id)
        hurried = session.run(_HURRY, id=_first_of(session, job_id)).rowcount == 1
        announce(session)
        return hurried


def count_states(session: Session) -> dict[str, int]:
    """Jobs by state: their sum is what was accepted."""
    query = select(jobs.c.state, sql.count().label("jobs")).group_by(jobs.c.state)
    return {row.state: row.jobs for row in session.connection.execute(query)}


def cancel_requested(session: Session, claims: list[tuple[str, int]]) -> set[str]:
    """Which of these jobs somebody wants cancelled; `claims` are (id, token)."""
    return {row.id for row in session.run(_REQUESTED, [(job_id,) for job_id, _ in claims])} if claims else set()


def oldest_due_seconds(session: Session) -> float:
    """For how long the oldest due job has been waiting to be dispatched or claimed; 0 if none is."""
    return float(session.run(_OLDEST_DUE).scalar() or 0.0)


def _matches(session: Session, glob: str) -> ColumnElement[bool]:
    """Whether a type is meant by a glob; SQLite's LIKE would take upper case for lower."""
    if session.dialect.name == "sqlite":
        return jobs.c.type.op("GLOB", is_comparison=True)(glob)
    return jobs.c.type.like(glob.replace("_", "\\_").replace("*", "%"), escape="\\")


def _first_of(session: Session, job_id: str) -> str:
    """The job that an id stands for: its own, or the one whose alias it is."""
    return session.connection.execute(select(aliases.c.job_id).where(aliases.c.id == job_id)).scalar() or job_id


_WAITING = "state IN ('scheduled', 'available', 'retryable')"


def _oldest_due(dialect: Dialect) -> str:
    # Of those that wait here the longest due of each queue; the others are as few as are on their way at a time.
    here = f"{_WAITING} AND jobs.dispatched_at IS NULL"
    oldest = f"SELECT jobs.due_at FROM jobs WHERE jobs.queue = queues.queue AND {here} ORDER BY jobs.due_at LIMIT 1"
    return f"""
        {queues_with(here)}
        SELECT MAX({dialect.seconds_since("due_at")}) FROM (
            SELECT ({oldest}) AS due_at FROM queues WHERE queues.queue IS NOT NULL
            UNION ALL
            SELECT jobs.due_at FROM jobs WHERE {_WAITING} AND jobs.dispatched_at IS NOT NULL
        ) AS waiting
        WHERE due_at <= {dialect.now}
    """


_OLDEST_DUE = Statement(_oldest_due)

# One statement, so that a job that comes back between two of them is not missed by both.
_CANCEL = Statement(
    lambda dialect: (
        f"""
        UPDATE jobs SET
            state = CASE WHEN {_WAITING} THEN 'cancelled' ELSE state END,
            reason = CASE WHEN {_WAITING} THEN 'cancelled' ELSE reason END,
            finished_at = CASE WHEN {_WAITING} THEN {dialect.now} ELSE finished_at END,
            cancel_requested_at = CASE WHEN state = 'executing' THEN {dialect.now} ELSE cancel_requested_at END
        WHERE id = :id AND state IN ('scheduled', 'available', 'retryable', 'executing')
        RETURNING state
    """
    )
)

_TOMBSTONE = Statement(
    lambda dialect: (
        f"""
        INSERT INTO jobs (id, type, version, queue, state, reason, payload, due_at, created_at, finished_at)
        VALUES (:id, '', 0, '', 'cancelled', 'cancelled', {dialect.blob("'{}'")}, {dialect.now}, {dialect.now},
            {dialect.now})
        ON CONFLICT DO NOTHING
    """
    )
)

_HURRY = Statement(
    lambda dialect: (
        f"""
        UPDATE jobs SET state = 'available', due_at = {dialect.now}, dispatched_at = NULL,
            dispatch_number = dispatch_number + 1
        WHERE id = :id AND {_WAITING}
    """
    )
)

_ID: Columns = {"id": "uuid"}

_STANDINGS = Statement(
    lambda dialect: (
        f"""
        SELECT CAST(jobs.id AS text) AS id, jobs.state, jobs.reason, jobs.attempts
        FROM jobs JOIN {dialect.rows("input", _ID)} ON jobs.id = input.id
    """
    ),
    _ID,
)

_REQUESTED = Statement(
    lambda dialect: (
        f"""
        SELECT CAST(jobs.id AS text) AS id FROM jobs JOIN {dialect.rows("input", {"id": "uuid"})} ON jobs.id = input.id
        WHERE jobs.cancel_requested_at IS NOT NULL AND jobs.state = 'executing'
    """
    ),
    _ID,
)
