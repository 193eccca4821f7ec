"""Every statement does to every row what `transitions` says: pair by pair, on both databases."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select
from tests.ledger.samples import OTHER_PROCESS, OTHER_TOKEN, PROCESS, TOKEN, a_message, an_offer, undone

from penstock.ledger import completion, dead_letters, dispatches, jobs, rescue, settlement, transitions
from penstock.ledger.admission import admit
from penstock.ledger.claims import claim_due
from penstock.ledger.database import Session
from penstock.ledger.settlement import Outcome
from penstock.ledger.state import ENDED, WAITING, Reason, State
from penstock.ledger.tables import jobs as jobs_table
from penstock.ledger.transitions import TROUBLES_MAX, UNKNOWN_SECONDS_MAX, Death, Row
from penstock.schemas.identifiers import new_job_id

# Seconds from now. Far apart, so that no pause of a test machine takes one for the other.
PAST, NOW, SOON, LATER = -20_000.0, 0.0, 20_000.0, 40_000.0
LONG_AGO = -UNKNOWN_SECONDS_MAX - 20_000.0
TOLERANCE_SECONDS = 5_000.0
NO, YES = False, True
LATE_OFFER = 60_000.0
MISSING = Row(state=State.DEAD, reason=Reason.KEY_CONFLICT)  # stands for "no row at all"

Rows = dict[str, Row]


def situations() -> Iterator[Row]:
    """Every row that decides differently somewhere."""
    for state in State:
        waits = state in WAITING
        for (
            token,
            due_at,
            dispatched_at,
            suspect,
            at_most_once,
            cancel_requested,
            crashes,
            losses,
            troubles,
        ) in itertools.product(
            (None,) if waits else (TOKEN, OTHER_TOKEN),
            (PAST, LATER),
            (None, PAST) if waits else (None,),
            (NO, YES),
            (NO, YES),
            (NO, YES),
            (0, 1),
            (0, 1),
            (0, TROUBLES_MAX - 1),
        ):
            yield Row(
                state=state,
                due_at=due_at,
                token=token,
                attempts=3,
                crashes=crashes,
                losses=losses,
                troubles=troubles,
                suspect=suspect,
                at_most_once=at_most_once,
                cancel_requested=cancel_requested,
                dispatched_at=dispatched_at,
                dispatch_number=5,
                reason=Reason.PERMANENT if state is State.DEAD else None,
            )
    yield from unknown_situations()


def unknown_situations() -> Iterator[Row]:
    """Rows that nobody has known for a while, or for too long."""
    for state, token, since, cancel_requested, at_most_once in itertools.product(
        State, (TOKEN, OTHER_TOKEN), (PAST, LONG_AGO), (NO, YES), (NO, YES)
    ):
        yield Row(
            state=state,
            token=None if state in WAITING else token,
            due_at=PAST,
            dispatch_number=5,
            at_most_once=at_most_once,
            cancel_requested=cancel_requested,
            reason=Reason.PERMANENT if state is State.DEAD else None,
            unknown_since=since,
        )


@dataclass(frozen=True)
class Event:
    """Something that happens to rows: by the statements, and by the specification."""

    act: Callable[[Session, Rows], object]
    follow: Callable[[Row], Row]


def settled(follow: Callable[[Row], Row], **outcome: Any) -> Event:
    """All rows get the same outcome in one batch."""
    return Event(
        lambda session, rows: settlement.settle(session, [Outcome(job_id, TOKEN, **outcome) for job_id in rows]),
        follow,
    )


def interrupted(session: Session, rows: Rows) -> None:
    settlement.settle(session, [_interruption(job_id, row) for job_id, row in rows.items()])


def _interruption(job_id: str, row: Row) -> Outcome:
    if row.at_most_once:
        return Outcome(job_id, TOKEN, State.DEAD, Reason.OUTCOME_UNKNOWN, counts=False)
    return Outcome(job_id, TOKEN, State.AVAILABLE, counts=False)


def completed_within(session: Session, rows: Rows) -> None:
    for job_id in rows:
        session.connection.exec_driver_sql("SAVEPOINT before")
        try:
            completion.complete_within(session.connection, job_id=job_id, token=TOKEN, result=b"{}")
        except completion.Fenced:
            session.connection.exec_driver_sql("ROLLBACK TO SAVEPOINT before")


def crashed(death: Death, *, alone: bool) -> Event:
    return Event(
        lambda session, rows: rescue.rescue_crashed(
            session, process_id=PROCESS, running=list(rows), death=death, alone=alone, how="SIGSEGV"
        ),
        lambda row: transitions.crash(row, token=TOKEN, now=NOW, death=death, alone=alone),
    )


def delivered(*, startable: bool, due_at: float = NOW, unknown: Reason | None = None) -> Event:
    """Every row's message comes once more; what is not startable is only absorbed."""
    state = State.EXECUTING if startable else State.AVAILABLE
    arrives = None if due_at == NOW else datetime.now(UTC) + timedelta(seconds=due_at)

    def act(session: Session, rows: Rows) -> None:
        offers = [an_offer(id=job_id, state=state, due_at=arrives, reason=unknown) for job_id in rows]
        admit(session, offers, token=TOKEN, process_id=PROCESS)

    def follow(row: Row) -> Row:
        return transitions.admit(row, token=TOKEN, now=NOW, due_at=due_at, startable=startable, unknown=unknown)[0]

    return Event(act, follow)


def claimed_straight(*, suspects: bool) -> Event:
    def follow(row: Row) -> Row:
        wanted = row.suspect is suspects and row.dispatched_at is None and transitions.is_due(row, NOW)
        return transitions.claim(row, token=TOKEN) if wanted else row

    return Event(
        lambda session, rows: claim_due(
            session, queues=["demo"], limit=len(rows), token=TOKEN, process_id=PROCESS, suspects=suspects
        ),
        follow,
    )


def marked(*, number: int, state: State | None = None) -> Event:
    """The dispatcher's mark arrives; `number` and `state` are what it saw."""

    def act(session: Session, rows: Rows) -> None:
        dispatches.mark_dispatched(
            session,
            [
                dispatches.Due(a_message(id=job_id), "demo", str(state or row.state), number, 0.0)
                for job_id, row in rows.items()
            ],
        )

    def follow(row: Row) -> Row:
        seen = Row(state=state or row.state, dispatch_number=number)
        return transitions.mark_dispatched(row, seen=seen, now=NOW)

    return Event(act, follow)


def selected_and_marked(session: Session, rows: Rows) -> None:
    dispatches.mark_dispatched(session, dispatches.select_due(session, queue="demo", limit=len(rows)))


def follow_dispatch(row: Row) -> Row:
    if transitions.is_due(row, NOW) and not row.suspect and row.dispatched_at is None:
        return transitions.mark_dispatched(row, seen=row, now=NOW)
    return row


def each(act: Callable[[Session, str], object], follow: Callable[[Row], Row]) -> Event:
    """An event that meets one job at a time."""

    def act_on_all(session: Session, rows: Rows) -> None:
        for job_id in rows:
            act(session, job_id)

    return Event(act_on_all, follow)


def selection_of(rows: Rows) -> dead_letters.Selection:
    return dead_letters.Selection(ids=tuple(rows))


EVENTS = {
    "delivered": delivered(startable=True),
    "delivered and not startable": delivered(startable=False),
    "delivered where it is unknown": delivered(startable=False, unknown=Reason.UNKNOWN_TYPE),
    "delivered before its time": delivered(startable=True, due_at=LATE_OFFER),
    "claimed from the ledger": claimed_straight(suspects=False),
    "claimed by the suspect lane": claimed_straight(suspects=True),
    "completed": settled(lambda row: transitions.complete(row, token=TOKEN), state=State.COMPLETED),
    "completed with a result": settled(
        lambda row: transitions.complete(row, token=TOKEN), state=State.COMPLETED, result=b'{"ok":true}'
    ),
    "completed by its handler": Event(completed_within, lambda row: transitions.complete(row, token=TOKEN)),
    "failed": settled(
        lambda row: transitions.fail(row, token=TOKEN, retry_at=SOON), state=State.RETRYABLE, delay_seconds=SOON
    ),
    "buried": settled(
        lambda row: transitions.bury(row, token=TOKEN, reason=Reason.ATTEMPTS),
        state=State.DEAD,
        reason=Reason.ATTEMPTS,
    ),
    "snoozed": settled(
        lambda row: transitions.snooze(row, token=TOKEN, due_at=SOON),
        state=State.SCHEDULED,
        counts=False,
        delay_seconds=SOON,
    ),
    "released": settled(
        lambda row: transitions.release(row, token=TOKEN, now=NOW), state=State.AVAILABLE, counts=False
    ),
    "put back where it is unknown": settled(
        lambda row: transitions.put_back(row, token=TOKEN, now=NOW, due_at=SOON, reason=Reason.UNKNOWN_VERSION),
        state=State.AVAILABLE,
        reason=Reason.UNKNOWN_VERSION,
        counts=False,
        delay_seconds=SOON,
    ),
    "troubled": settled(
        lambda row: transitions.trouble(row, token=TOKEN, due_at=SOON),
        state=State.AVAILABLE,
        counts=False,
        trouble=True,
        delay_seconds=SOON,
    ),
    "interrupted": Event(interrupted, lambda row: transitions.interrupt(row, token=TOKEN, now=NOW)),
    "crashed by its own doing, alone": crashed(Death.OWN_DOING, alone=True),
    "crashed by its own doing, among others": crashed(Death.OWN_DOING, alone=False),
    "killed alone": crashed(Death.KILLED, alone=True),
    "killed among others": crashed(Death.KILLED, alone=False),
    "claimed by a process that died": Event(
        lambda session, _: rescue.rescue_crashed(
            session, process_id=PROCESS, running=[], death=Death.OWN_DOING, alone=True, how="SIGSEGV"
        ),
        lambda row: transitions.release(row, token=TOKEN, now=NOW),
    ),
    "interrupted with its process, by us": Event(
        lambda session, rows: rescue.rescue_interrupted(session, process_id=PROCESS, running=list(rows)),
        lambda row: transitions.interrupt(row, token=TOKEN, now=NOW),
    ),
    "lost with its host": Event(
        lambda session, _: rescue.rescue_lost(session, process_id=PROCESS),
        lambda row: transitions.lose(row, token=TOKEN, now=NOW),
    ),
    "dispatched": Event(selected_and_marked, follow_dispatch),
    "marked as it was seen": marked(number=5),
    "marked after it moved on": marked(number=4),
    "marked after its state changed": marked(number=5, state=State.SCHEDULED),
    "suspected lost": Event(
        lambda session, _: dispatches.suspect_lost(session, queue="demo", older_seconds=1), transitions.suspect_lost
    ),
    "overdue at the broker": Event(lambda session, _: dispatches.suspect_overdue(session), transitions.suspect_lost),
    "left by a broker that was wiped": Event(
        lambda session, _: dispatches.unmark_all(session), transitions.suspect_lost
    ),
    "cancelled": each(lambda session, job_id: jobs.cancel_job(session, job_id, actor="ada"), transitions.cancel),
    "hurried": each(
        lambda session, job_id: jobs.hurry_job(session, job_id, actor="ada"),
        lambda row: transitions.hurry(row, now=NOW),
    ),
    "replayed": Event(
        lambda session, rows: dead_letters.replay_dead(session, selection=selection_of(rows), actor="ada"),
        lambda row: transitions.replay(row, now=NOW),
    ),
    "discarded": Event(
        lambda session, rows: dead_letters.discard_dead(session, selection=selection_of(rows), actor="ada"),
        transitions.discard,
    ),
}


@pytest.mark.parametrize("name", EVENTS)
def test_the_statement_does_what_the_specification_says(session: Session, name: str) -> None:
    """For every situation: put the row there, run the statement, read it back, compare."""
    event = EVENTS[name]
    rows = {new_job_id(): row for row in situations()}
    with undone(session):
        base = _put(session, rows)

        event.act(session, rows)

        after = _read(session, base)
    wrong = [
        f"{row}: {differences}"
        for job_id, row in rows.items()
        if (differences := _differences(event.follow(row), after[job_id]))
    ]
    assert not wrong, f"{len(wrong)} of {len(rows)} rows differ, as {wrong[:3]}"


@pytest.mark.parametrize("at_most_once", [False, True])
@pytest.mark.parametrize("startable", [False, True])
@pytest.mark.parametrize("due_at", [PAST, NOW, LATE_OFFER])
def test_a_job_that_was_never_seen_starts_as_the_specification_says(
    session: Session, due_at: float, startable: bool, at_most_once: bool
) -> None:
    """The one row that no situation has: none."""
    expected, verdict = transitions.admit(
        None, token=TOKEN, now=NOW, due_at=due_at, startable=startable, at_most_once=at_most_once
    )
    arrives = None if due_at == NOW else datetime.now(UTC) + timedelta(seconds=due_at)
    state = State.EXECUTING if startable else State.AVAILABLE
    offer = an_offer(state=state, due_at=arrives, at_most_once=at_most_once)

    with undone(session):
        base = _put(session, {})
        admission = admit(session, [offer], token=TOKEN, process_id=PROCESS)
        after = _read(session, base)[offer.message.id]

    assert admission.outcomes[offer.message.id].value == verdict.value
    assert after.state is expected.state
    assert after.token == expected.token
    assert after.at_most_once is expected.at_most_once
    assert (after.due_at > NOW + TOLERANCE_SECONDS) == (expected.due_at > NOW)


def test_cancelling_a_job_that_was_never_seen_leaves_what_the_specification_says(session: Session) -> None:
    """A tombstone."""
    job_id = new_job_id()
    with undone(session):
        base = _put(session, {})
        jobs.cancel_job(session, job_id, actor="ada")
        after = _read(session, base)[job_id]
    assert _differences(transitions.cancel(None), after) == {}


def _put(session: Session, rows: Rows) -> datetime:
    """Insert the rows; returns the moment that they call now."""
    base = datetime.now(UTC)
    if rows:
        session.connection.execute(insert(jobs_table), [_columns(job_id, row, base) for job_id, row in rows.items()])
    return base


def _columns(job_id: str, row: Row, base: datetime) -> dict[str, Any]:
    mine = row.token == TOKEN
    ended = row.state in ENDED
    return {
        "id": job_id,
        "type": "demo.job",
        "version": 1,
        "queue": "demo",
        "payload": b"{}",
        "created_at": base,
        "state": row.state,
        "due_at": base + timedelta(seconds=row.due_at),
        "token": row.token,
        "process_id": None if row.token is None else PROCESS if mine else OTHER_PROCESS,
        "attempts": row.attempts,
        "crashes": row.crashes,
        "losses": row.losses,
        "troubles": row.troubles,
        "suspect": row.suspect,
        "at_most_once": row.at_most_once,
        "cancel_requested_at": base if row.cancel_requested else None,
        "dispatched_at": None if row.dispatched_at is None else base + timedelta(seconds=row.dispatched_at),
        "dispatch_number": row.dispatch_number,
        "reason": row.reason,
        "finished_at": base if ended else None,
        "unknown_since": None if row.unknown_since is None else base + timedelta(seconds=row.unknown_since),
    }


def _read(session: Session, base: datetime) -> Rows:
    """All rows of the table, with times as seconds from `base`; checks on the way what every row must fulfil."""
    found = {}
    for row in session.connection.execute(select(jobs_table)):
        state = State(row.state)
        assert (row.finished_at is not None) == (state in ENDED), f"{state} with {row.finished_at=}"
        found[row.id] = Row(
            state=state,
            due_at=(row.due_at - base).total_seconds(),
            token=row.token,
            attempts=row.attempts,
            crashes=row.crashes,
            losses=row.losses,
            troubles=row.troubles,
            suspect=row.suspect,
            at_most_once=row.at_most_once,
            cancel_requested=row.cancel_requested_at is not None,
            dispatched_at=None if row.dispatched_at is None else (row.dispatched_at - base).total_seconds(),
            dispatch_number=row.dispatch_number,
            reason=None if row.reason is None else Reason(row.reason),
            unknown_since=None if row.unknown_since is None else (row.unknown_since - base).total_seconds(),
        )
    return found


def _differences(expected: Row, actual: Row) -> dict[str, tuple[Any, Any]]:
    """(expected, actual) of every field in which the two differ."""
    pairs = {field.name: (getattr(expected, field.name), getattr(actual, field.name)) for field in fields(Row)}
    return {name: pair for name, pair in pairs.items() if not _same(*pair)}


def _same(expected: Any, actual: Any) -> bool:
    if isinstance(expected, float) and isinstance(actual, float):
        return abs(expected - actual) < TOLERANCE_SECONDS
    return bool(expected == actual)
