"""Every arrow that the transition functions can make, found by trying each event on each kind of row."""

from collections.abc import Callable, Iterator
from itertools import product

from penstock.ledger import transitions
from penstock.ledger.dedup import KeyVerdict, decide_key
from penstock.ledger.state import WAITING, Reason, State
from penstock.ledger.transitions import CRASHES_MAX, TROUBLES_MAX, UNKNOWN_SECONDS_MAX, Death, Row

Arrow = tuple[str, str, str]  # from, to, event; a job that the ledger has never seen comes from "[*]"

NEW = "[*]"
TOKEN = 1
NOW, LATER = 0.0, 1.0


def all_arrows() -> set[Arrow]:
    """(from, to, event) of every event that changes the state of some row."""
    arrows = {
        (row.state.value if row else NEW, after.state.value, event)
        for row in _all_rows()
        for event, after in _outcomes(row)
        if row is None or after.state is not row.state
    }
    return arrows | _arrows_of_keys()


def all_events() -> set[str]:
    return {event for row in _all_rows() for event, _ in _outcomes(row)} | {"key conflict"}


def _all_rows() -> Iterator[Row | None]:
    yield None
    flags = (False, True)
    for state, crashes, troubles, suspect, at_most_once, cancel_requested, unknown_since in product(
        State, (0, CRASHES_MAX - 1), (0, TROUBLES_MAX - 1), flags, flags, flags, (None, NOW, NOW - UNKNOWN_SECONDS_MAX)
    ):
        yield Row(
            state=state,
            due_at=NOW,
            token=None if state in WAITING else TOKEN,
            crashes=crashes,
            troubles=troubles,
            suspect=suspect,
            at_most_once=at_most_once,
            cancel_requested=cancel_requested and state not in WAITING,
            reason=Reason.PERMANENT if state is State.DEAD else None,
            unknown_since=unknown_since,
        )


def _outcomes(row: Row | None) -> Iterator[tuple[str, Row]]:
    for due_at, startable, unknown in product((NOW, LATER), (False, True), (None, Reason.UNKNOWN_TYPE)):
        if not (startable and unknown):
            after, _ = transitions.admit(
                row, token=TOKEN + 1, now=NOW, due_at=due_at, startable=startable, unknown=unknown
            )
            yield "admit", after
    yield "cancel", transitions.cancel(row)
    if row is None:
        return
    if transitions.is_due(row, NOW):
        yield "claim", transitions.claim(row, token=TOKEN + 1)
    for event, happen in _EVENTS.items():
        yield event, happen(row)
    for death, alone in product(Death, (False, True)):
        yield "crash", transitions.crash(row, token=TOKEN, now=NOW, death=death, alone=alone)


_EVENTS: dict[str, Callable[[Row], Row]] = {
    "complete": lambda row: transitions.complete(row, token=TOKEN),
    "fail": lambda row: transitions.fail(row, token=TOKEN, retry_at=LATER),
    "bury": lambda row: transitions.bury(row, token=TOKEN, reason=Reason.PERMANENT),
    "snooze": lambda row: transitions.snooze(row, token=TOKEN, due_at=LATER),
    "release": lambda row: transitions.release(row, token=TOKEN, now=NOW),
    "put_back": lambda row: transitions.put_back(
        row, token=TOKEN, now=NOW, due_at=LATER, reason=Reason.UNKNOWN_VERSION
    ),
    "trouble": lambda row: transitions.trouble(row, token=TOKEN, due_at=LATER),
    "interrupt": lambda row: transitions.interrupt(row, token=TOKEN, now=NOW),
    "lose": lambda row: transitions.lose(row, token=TOKEN, now=NOW),
    "mark_dispatched": lambda row: transitions.mark_dispatched(row, seen=row, now=NOW),
    "suspect_lost": transitions.suspect_lost,
    "replay": lambda row: transitions.replay(row, now=NOW),
    "discard": transitions.discard,
    "hurry": lambda row: transitions.hurry(row, now=NOW),
}


def _arrows_of_keys() -> set[Arrow]:
    """A job under another one's key is dead at once, if its payload is another one too."""
    verdict = decide_key(
        job_id="b",
        payload_hash="y",
        holder_id="a",
        holder_hash="x",
        holder_state=State.COMPLETED,
        expired=False,
    )
    return {(NEW, State.DEAD.value, "key conflict")} if verdict is KeyVerdict.CONFLICT else set()
