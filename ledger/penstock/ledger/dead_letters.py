"""Dead letters: find, replay once each, discard. Follows `transitions.replay` and `transitions.discard`."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlalchemy import func as sql

from penstock.ledger.audit import record
from penstock.ledger.clock import later, now
from penstock.ledger.database import Session, retry_serialization
from penstock.ledger.jobs import list_jobs
from penstock.ledger.tables import jobs

REPLAY_BATCH_JOBS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which dead letters: by ids, type, fingerprint or reason; what is None does not restrict."""

    ids: tuple[str, ...] | None = None
    type: str | None = None
    fingerprint: str | None = None
    reason: str | None = None

    def __str__(self) -> str:
        parts = [f"{name} {value}" for name in ("type", "fingerprint", "reason") if (value := getattr(self, name))]
        return ", ".join([*parts, *([f"ids {', '.join(self.ids)}"] if self.ids is not None else [])]) or "all"


def list_dead(session: Session, *, selection: Selection, limit: int = 100) -> list[dict[str, Any]]:
    """The newest first, without payloads."""
    if selection.ids is not None or selection.reason is not None:
        query = select(jobs.c.id).where(_dead(selection)).order_by(jobs.c.id.desc()).limit(limit)
        wanted = set(session.connection.execute(query).scalars())
        return [job for job in list_jobs(session, state="dead", limit=limit) if job["id"] in wanted]
    return list_jobs(session, state="dead", type=selection.type, fingerprint=selection.fingerprint, limit=limit)


def group_dead(session: Session) -> list[dict[str, Any]]:
    """Dead letters grouped by type, reason and fingerprint, the largest group first."""
    query = (
        select(
            jobs.c.type,
            jobs.c.reason,
            jobs.c.fingerprint,
            sql.count().label("jobs"),
            sql.max(jobs.c.error).label("error"),
            sql.max(jobs.c.finished_at).label("latest"),
        )
        .where(jobs.c.state == "dead")
        .group_by(jobs.c.type, jobs.c.reason, jobs.c.fingerprint)
        .order_by(sql.count().desc(), jobs.c.type)
    )
    return [dict(row) for row in session.connection.execute(query).mappings()]


@retry_serialization
def replay_dead(session: Session, *, selection: Selection, actor: str, per_second: float | None = None) -> list[str]:
    """Put dead letters back, once each; returns their ids. What is no longer dead, or a key conflict, is left alone.

    With `per_second` their due times are spread at that pace. Commits in batches: a replay that is cut off goes
    on where it stopped when it is asked again, as what is done is no longer dead.
    """
    replayed: list[str] = []
    while True:
        with session.transaction():
            batch = _lock_dead(session, _replayable(selection))
            for index, job_id in enumerate(batch):
                position = len(replayed) + index
                due = later(session.dialect, position / per_second) if per_second else now(session.dialect)
                session.connection.execute(_put_back(due).where(jobs.c.id == job_id))
            if batch:
                detail = f"{len(batch)} jobs of: {selection}"
                record(session, actor=actor, action="replay", target=", ".join(batch), detail=detail)
        replayed += batch
        if len(batch) < REPLAY_BATCH_JOBS:
            return replayed


@retry_serialization
def discard_dead(session: Session, *, selection: Selection, actor: str) -> list[str]:
    """Give dead letters up: they become `cancelled`, and their keys are free. Returns their ids."""
    discarded: list[str] = []
    while True:
        with session.transaction():
            batch = _lock_dead(session, _dead(selection))
            change = update(jobs).values(state="cancelled", reason="discarded", finished_at=now(session.dialect))
            session.connection.execute(change.where(jobs.c.id.in_(batch)))
            if batch:
                detail = f"{len(batch)} jobs of: {selection}"
                record(session, actor=actor, action="discard", target=", ".join(batch), detail=detail)
        discarded += batch
        if len(batch) < REPLAY_BATCH_JOBS:
            return discarded


def _put_back(due: Any) -> Any:
    return update(jobs).values(
        state="available",
        reason=None,
        token=None,
        attempts=0,
        crashes=0,
        losses=0,
        troubles=0,
        suspect=False,
        cancel_requested_at=None,
        finished_at=None,
        due_at=due,
        dispatched_at=None,
        dispatch_number=jobs.c.dispatch_number + 1,
    )


def _lock_dead(session: Session, dead: ColumnElement[bool]) -> list[str]:
    query = select(jobs.c.id).where(dead).order_by(jobs.c.id).limit(REPLAY_BATCH_JOBS).with_for_update()
    return list(session.connection.execute(query).scalars())


def _replayable(selection: Selection) -> ColumnElement[bool]:
    """A key conflict is kept to be seen: under its key another payload has run, or will."""
    return and_(_dead(selection), or_(jobs.c.reason.is_(None), jobs.c.reason != "key_conflict"))


def _dead(selection: Selection) -> ColumnElement[bool]:
    conditions = [jobs.c.state == "dead"]
    if selection.ids is not None:
        conditions.append(jobs.c.id.in_(selection.ids))
    for column in ("type", "fingerprint", "reason"):
        value = getattr(selection, column)
        if value is not None:
            conditions.append(jobs.c[column] == value)
    return and_(*conditions)
