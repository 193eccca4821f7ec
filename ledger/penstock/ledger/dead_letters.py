"""Dead letters: find, replay once each, discard. Follows `transitions.replay` and `transitions.discard`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlalchemy import func as sql

from penstock.ledger.audit import record
from penstock.ledger.clock import now
from penstock.ledger.database import Session, Statement, retry_serialization
from penstock.ledger.dialects import Columns
from penstock.ledger.effects import replay_within
from penstock.ledger.failpoints import Failpoint, reach
from penstock.ledger.jobs import SUMMARY
from penstock.ledger.tables import jobs
from penstock.ledger.wakeups import announce

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
    query = select(*SUMMARY).where(_dead(selection)).order_by(jobs.c.id.desc()).limit(limit)
    return [dict(row) for row in session.connection.execute(query).mappings()]


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


def replay_dead(session: Session, *, selection: Selection, actor: str, per_second: float | None = None) -> list[str]:
    """Put dead letters back, once each; returns their ids. What is no longer dead, or a key conflict, is left alone.

    With `per_second` their due times are spread at that pace. Commits in batches: a replay that is cut off goes
    on where it stopped when it is asked again, as what is done is no longer dead.
    """

    def put_back(batch: list[str], position: int) -> None:
        delays = [(position + index) / per_second if per_second else 0.0 for index in range(len(batch))]
        session.run(_PUT_BACK, list(zip(batch, delays, strict=True)))
        replay_within(session, batch)
        announce(session)

    return _in_batches(session, _replayable(selection), put_back, actor=actor, action="replay", what=str(selection))


def discard_dead(session: Session, *, selection: Selection, actor: str) -> list[str]:
    """Give dead letters up: they become `cancelled`, and their keys are free. Returns their ids."""

    def discard(batch: list[str], _: int) -> None:
        change = update(jobs).values(state="cancelled", reason="discarded", finished_at=now(session.dialect))
        session.connection.execute(change.where(jobs.c.id.in_(batch)))

    return _in_batches(session, _dead(selection), discard, actor=actor, action="discard", what=str(selection))


def _in_batches(
    session: Session, dead: ColumnElement[bool], act: Callable[[list[str], int], None], **audited: str
) -> list[str]:
    """Walk once over the ids: a job that dies again meanwhile is not met a second time."""
    done: list[str] = []
    while True:
        batch = _act_on_batch(
            session, dead if not done else and_(dead, jobs.c.id > done[-1]), act, len(done), **audited
        )
        done += batch
        if len(batch) < REPLAY_BATCH_JOBS:
            return done


@retry_serialization
def _act_on_batch(
    session: Session,
    dead: ColumnElement[bool],
    act: Callable[[list[str], int], None],
    position: int,
    *,
    actor: str,
    action: str,
    what: str,
) -> list[str]:
    query = select(jobs.c.id).where(dead).order_by(jobs.c.id).limit(REPLAY_BATCH_JOBS).with_for_update()
    with session.transaction():
        batch = list(session.connection.execute(query).scalars())
        if batch:
            act(batch, position)
            detail = f"{len(batch)} jobs of: {what}"
            record(session, actor=actor, action=action, target=", ".join(batch), detail=detail)
    reach(Failpoint.REPLAYED)
    return batch


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


_DELAYED: Columns = {"id": "uuid", "delay_seconds": "float"}

# The rows are locked, and dead. A condition on the state would invite the planner to walk over all dead letters.
_PUT_BACK = Statement(
    lambda dialect: (
        f"""
        UPDATE jobs SET state = 'available', reason = NULL, token = NULL, attempts = 0, crashes = 0, losses = 0,
            troubles = 0, suspect = false, cancel_requested_at = NULL, finished_at = NULL,
            unknown_since = NULL,
            due_at = {dialect.later("input.delay_seconds")}, dispatched_at = NULL,
            dispatch_number = jobs.dispatch_number + 1
        FROM {dialect.rows("input", _DELAYED)}
        WHERE jobs.id = input.id
    """
    ),
    _DELAYED,
)
