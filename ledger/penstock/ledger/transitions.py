"""The state machine of a job as pure functions: the specification of every SQL statement of this room.

Each function takes a row (`None`: the ledger has never seen the job) and returns the row that follows,
or the same object where the event must change nothing. `tests/ledger/` holds the statements against
these functions pair by pair; `tests/model/` explores them under faults. The diagram is in
`docs/state-machine.md`. Times are seconds on the database clock.
"""

from dataclasses import dataclass, replace
from enum import Enum

from penstock.ledger.state import ENDED, WAITING, Reason, State

CRASHES_MAX = 2  # deaths alone by SIGKILL that convict: the first may have been an operator or the OOM killer
LOSSES_MAX = 2  # vanished hosts after which a job is a suspect
UNKNOWN_SECONDS_MAX = 86_400.0  # how long a type or version may be unknown to whoever meets it, before it is dead
UNKNOWN_DELAY_SECONDS_MAX = 600.0  # the longer it is unknown, the longer it waits, up to this
TROUBLES_MAX = 50  # failures of the engine's own calls around one job, after which it is dead, not driven for ever


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The part of a `jobs` row that decides."""

    state: State
    due_at: float = 0.0
    token: int | None = None
    attempts: int = 0
    crashes: int = 0
    losses: int = 0
    troubles: int = 0
    suspect: bool = False
    at_most_once: bool = False
    cancel_requested: bool = False
    dispatched_at: float | None = None
    dispatch_number: int = 0
    reason: Reason | None = None
    unknown_since: float | None = None  # since when whoever met it has not known its type or version


class Verdict(Enum):
    CLAIMED = "claimed"  # executing under this claimer's token: run it
    ABSORBED = "absorbed"  # in the ledger, waiting there: ack the delivery
    DUPLICATE = "duplicate"  # known already: ack the delivery


class Death(Enum):
    """How a worker process ended."""

    OWN_DOING = "own doing"  # SEGV, ABRT, BUS, FPE, ILL, an exit nobody asked for
    KILLED = "killed"  # SIGKILL: somebody else's hand, or the OOM killer


def admit(
    row: Row | None,
    *,
    token: int,
    now: float,
    due_at: float,
    startable: bool,
    at_most_once: bool = False,
    unknown: Reason | None = None,
) -> tuple[Row, Verdict]:
    """A delivery arrives, is claimed if it is due and can start here, and absorbed into the ledger if not.

    `unknown` is the reason where it cannot start because its type or version is not known.
    """
    if row is None:
        if due_at > now or not startable:
            state = State.SCHEDULED if due_at > now else State.AVAILABLE
            since = None if unknown is None else now
            row = Row(state=state, due_at=due_at, at_most_once=at_most_once, reason=unknown, unknown_since=since)
            return row, Verdict.ABSORBED
        return Row(state=State.EXECUTING, due_at=now, token=token, at_most_once=at_most_once), Verdict.CLAIMED
    if row.state is State.EXECUTING and row.token == token:
        return row, Verdict.CLAIMED  # the reply to this very claim was lost
    if row.suspect or not is_due(row, now):
        return row, Verdict.DUPLICATE
    if startable:
        return claim(row, token=token), Verdict.CLAIMED
    # The delivery is acked, so the row must not count as on its way: it is dispatched again when it is due.
    return put_off(row, now=now, due_at=due_at, unknown=unknown), Verdict.ABSORBED


def is_due(row: Row, now: float) -> bool:
    return row.state in WAITING and row.due_at <= now


def claim(row: Row, *, token: int) -> Row:
    """A due row becomes executing. The dispatch number moves on, so that a late mark of the dispatcher misses."""
    return replace(
        row,
        state=State.EXECUTING,
        token=token,
        reason=None,
        dispatched_at=None,
        dispatch_number=row.dispatch_number + 1,
    )


def put_off(row: Row, *, now: float, due_at: float, unknown: Reason | None = None) -> Row:
    """A due row was delivered where it cannot start."""
    row = replace(row, dispatched_at=None, dispatch_number=row.dispatch_number + 1)
    if unknown is None:
        return replace(row, due_at=due_at)
    return _not_known(row, row.state, now=now, due_at=due_at, reason=unknown)


def holds(row: Row | None, token: int) -> bool:
    """Whether `token` is the fence of this row: only its holder may settle."""
    return row is not None and row.state is State.EXECUTING and row.token == token


def complete(row: Row, *, token: int) -> Row:
    if not holds(row, token):
        return row
    return replace(row, state=State.COMPLETED, attempts=row.attempts + 1)


def fail(row: Row, *, token: int, retry_at: float) -> Row:
    """An attempt failed and the retry policy wants another one. It left its process alive: no suspect any more."""
    if not holds(row, token):
        return row
    if row.at_most_once:
        return bury(row, token=token, reason=Reason.OUTCOME_UNKNOWN)
    return _back(row, State.RETRYABLE, due_at=retry_at, attempts=row.attempts + 1, suspect=False)


def bury(row: Row, *, token: int, reason: Reason) -> Row:
    """An attempt failed and nothing will follow."""
    if not holds(row, token):
        return row
    return replace(row, state=State.DEAD, reason=reason, attempts=row.attempts + 1)


def snooze(row: Row, *, token: int, due_at: float) -> Row:
    """Later, by the handler's wish or a provider's; uses up no attempt. Had it started, `at_most_once` forbids it."""
    if not holds(row, token):
        return row
    if row.at_most_once:
        return replace(row, state=State.DEAD, reason=Reason.OUTCOME_UNKNOWN)
    return _back(row, State.SCHEDULED, due_at=due_at, suspect=False)


def release(row: Row, *, token: int, now: float) -> Row:
    """A claim is handed back: not started, or stopped by us. Uses up no attempt."""
    if not holds(row, token):
        return row
    return _back(row, State.AVAILABLE, due_at=now)


def put_back(row: Row, *, token: int, now: float, due_at: float, reason: Reason) -> Row:
    """A claim whose type, version or key the claimer does not know: nothing was started, and nothing is used up."""
    if not holds(row, token):
        return row
    if row.cancel_requested:
        return _back(row, State.AVAILABLE, due_at=due_at)
    row = replace(row, dispatched_at=None)
    return _not_known(row, State.AVAILABLE, now=now, due_at=due_at, reason=reason)


def trouble(row: Row, *, token: int, due_at: float) -> Row:
    """The engine's own calls failed around a handler that had started. Uses up no attempt, but has its own bound."""
    if not holds(row, token):
        return row
    if row.at_most_once:
        return replace(row, state=State.DEAD, reason=Reason.OUTCOME_UNKNOWN)
    troubles = row.troubles + 1
    if troubles >= TROUBLES_MAX:
        return replace(row, state=State.DEAD, reason=Reason.INFRASTRUCTURE, troubles=troubles)
    return _back(row, State.AVAILABLE, due_at=due_at, troubles=troubles)


def interrupt(row: Row, *, token: int, now: float) -> Row:
    """A handler that had started is given up by a stop of ours. Uses up no attempt."""
    if not holds(row, token):
        return row
    if row.at_most_once:
        return replace(row, state=State.DEAD, reason=Reason.OUTCOME_UNKNOWN)
    return _back(row, State.AVAILABLE, due_at=now)


def crash(row: Row, *, token: int, now: float, death: Death, alone: bool) -> Row:
    """The process died while it ran this job. `alone`: in the suspect lane; only a death there convicts."""
    if not holds(row, token):
        return row
    if row.at_most_once:
        return replace(row, state=State.DEAD, reason=Reason.OUTCOME_UNKNOWN)
    if not alone:
        return _back(row, State.AVAILABLE, due_at=now, suspect=True)
    crashes = row.crashes + 1
    if death is Death.OWN_DOING or crashes >= CRASHES_MAX:
        return replace(row, state=State.DEAD, reason=Reason.CRASH, crashes=crashes, attempts=row.attempts + 1)
    return _back(row, State.AVAILABLE, due_at=now, suspect=True, crashes=crashes)


def lose(row: Row, *, token: int, now: float) -> Row:
    """The process vanished with its host. Blames nobody, but counts."""
    if not holds(row, token):
        return row
    if row.at_most_once:
        return replace(row, state=State.DEAD, reason=Reason.OUTCOME_UNKNOWN)
    losses = row.losses + 1
    return _back(row, State.AVAILABLE, due_at=now, losses=losses, suspect=row.suspect or losses >= LOSSES_MAX)


def mark_dispatched(row: Row, *, seen: Row, now: float) -> Row:
    """The dispatcher got its confirm. A row that has moved on since it was selected is left alone."""
    if row.state is not seen.state or row.dispatch_number != seen.dispatch_number:
        return row
    return replace(row, dispatched_at=now, dispatch_number=row.dispatch_number + 1)


def suspect_lost(row: Row) -> Row:
    """The broker does not have it any more: dispatch again. Once too often is harmless."""
    if row.state not in WAITING:
        return row
    return replace(row, dispatched_at=None)


def cancel(row: Row | None) -> Row:
    """Waiting: at once. Executing: asked. Never seen: a tombstone that the claim honours."""
    if row is None or row.state in WAITING:
        return replace(row or Row(state=State.CANCELLED), state=State.CANCELLED, reason=Reason.CANCELLED)
    if row.state is State.EXECUTING:
        return replace(row, cancel_requested=True)
    return row


def replay(row: Row, *, now: float) -> Row:
    """A dead letter starts afresh, once: a second click finds it no longer dead.

    A key conflict is kept to be seen, not to be run: under its key another payload has run, or will.
    """
    if row.state is not State.DEAD or row.reason is Reason.KEY_CONFLICT:
        return row
    return Row(
        state=State.AVAILABLE,
        due_at=now,
        at_most_once=row.at_most_once,
        dispatch_number=row.dispatch_number + 1,
    )


def discard(row: Row) -> Row:
    if row.state is not State.DEAD:
        return row
    return replace(row, state=State.CANCELLED, reason=Reason.DISCARDED)


def hurry(row: Row, *, now: float) -> Row:
    """`penstock jobs retry`: a job that waits for its time becomes due now."""
    if row.state not in WAITING:
        return row
    return replace(row, state=State.AVAILABLE, due_at=now, dispatched_at=None, dispatch_number=row.dispatch_number + 1)


def has_ended(row: Row) -> bool:
    return row.state in ENDED


def _not_known(row: Row, state: State, *, now: float, due_at: float, reason: Reason) -> Row:
    """It waits for somebody who knows its type and version, ever longer, and is a dead letter after a day of that."""
    if row.unknown_since is None:
        return replace(row, state=state, due_at=due_at, token=None, reason=reason, unknown_since=now)
    age = now - row.unknown_since
    if age >= UNKNOWN_SECONDS_MAX:
        return replace(row, state=State.DEAD, reason=reason)
    due_at = max(due_at, now + min(age, UNKNOWN_DELAY_SECONDS_MAX))
    return replace(row, state=state, due_at=due_at, token=None, reason=reason)


def _back(row: Row, state: State, *, due_at: float, **changes: int | bool) -> Row:
    """Back to waiting, unless somebody has asked to cancel it meanwhile."""
    row = replace(row, unknown_since=None)
    if row.cancel_requested:
        return replace(row, state=State.CANCELLED, reason=Reason.CANCELLED, token=None, **changes)  # type: ignore[arg-type]
    return replace(row, state=state, due_at=due_at, token=None, dispatched_at=None, **changes)  # type: ignore[arg-type]
