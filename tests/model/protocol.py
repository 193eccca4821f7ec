"""The functions that the model runs: the real ones, unless a test replaces one to see whether it is missed."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from penstock.ledger import dedup, effects, transitions
from penstock.ledger.effects import EffectState
from penstock.ledger.state import State
from penstock.ledger.transitions import Row, Verdict
from penstock.workers import effect
from penstock.workers.effect import Resumption


@dataclass(frozen=True, kw_only=True)
class Protocol:
    decide_key: Callable[..., dedup.KeyVerdict] = dedup.decide_key
    admit: Callable[..., tuple[Row, Verdict]] = transitions.admit
    claim: Callable[..., Row] = transitions.claim
    complete: Callable[..., Row] = transitions.complete
    fail: Callable[..., Row] = transitions.fail
    bury: Callable[..., Row] = transitions.bury
    snooze: Callable[..., Row] = transitions.snooze
    release: Callable[..., Row] = transitions.release
    trouble: Callable[..., Row] = transitions.trouble
    interrupt: Callable[..., Row] = transitions.interrupt
    crash: Callable[..., Row] = transitions.crash
    lose: Callable[..., Row] = transitions.lose
    mark_dispatched: Callable[..., Row] = transitions.mark_dispatched
    suspect_lost: Callable[..., Row] = transitions.suspect_lost
    cancel: Callable[..., Row] = transitions.cancel
    replay: Callable[..., Row] = transitions.replay
    discard: Callable[..., Row] = transitions.discard
    resume: Callable[..., Resumption] = effect.resume
    intended: Callable[..., EffectState | None] = effects.intended
    replayed: Callable[..., EffectState | None] = effects.replayed

    acks_before_claim: bool = False
    dispatches: bool = True
    checks_itself: bool = True  # a process releases what runs under its name and what it does not hold
    frees_orphans: bool = True  # rows under a process that nobody knows any more
    asks_key_of_known: bool = False  # the key decides for unseen ids only; a known job goes on with its row


def without_dedup_by_id() -> Protocol:
    """Every delivery is taken for a new job."""

    def admit(row: Row | None, **arguments: Any) -> tuple[Row, Verdict]:
        return transitions.admit(None, **arguments)

    return Protocol(admit=admit)


def without_dedup_by_key() -> Protocol:
    """A key is never anybody else's."""
    return Protocol(decide_key=lambda **_: dedup.KeyVerdict.OWN)


def without_fence() -> Protocol:
    """A settle takes whatever token the row has."""

    def unfenced(function: Callable[..., Row]) -> Callable[..., Row]:
        def settle(row: Row, *, token: int, **arguments: Any) -> Row:
            return function(row, token=row.token, **arguments)

        return settle

    return Protocol(
        complete=unfenced(transitions.complete), fail=unfenced(transitions.fail), bury=unfenced(transitions.bury)
    )


def without_dispatch_number() -> Protocol:
    """A late mark only looks at the state."""

    def mark(row: Row, *, seen: Row, now: float) -> Row:
        as_seen_now = seen if row.state is not seen.state else row
        return transitions.mark_dispatched(row, seen=as_seen_now, now=now)

    return Protocol(mark_dispatched=mark)


def counting_at_the_claim() -> Protocol:
    """The claim, and not the settle, raises the attempts."""

    def admit(row: Row | None, **arguments: Any) -> tuple[Row, Verdict]:
        after, verdict = transitions.admit(row, **arguments)
        is_new_claim = verdict is Verdict.CLAIMED and after is not row
        return (replace(after, attempts=after.attempts + 1) if is_new_claim else after), verdict

    return Protocol(admit=admit)


def blaming_neighbours() -> Protocol:
    """Whoever ran when a process died is convicted."""

    def crash(row: Row, *, alone: bool, **arguments: Any) -> Row:
        return transitions.crash(row, alone=True, **arguments)

    return Protocol(crash=crash)


def without_blame() -> Protocol:
    """Nobody is ever suspected: whatever ran is just made available again."""

    def crash(row: Row, *, token: int, now: float, **_: Any) -> Row:
        return transitions.release(row, token=token, now=now)

    return Protocol(crash=crash)


def counting_again_when_asked_again() -> Protocol:
    """A settle that is sent again, as its answer was lost, counts again."""

    def fail(row: Row, *, token: int, retry_at: float) -> Row:
        after = transitions.fail(row, token=token, retry_at=retry_at)
        is_repeat = after is row and row.token is None
        return replace(row, attempts=row.attempts + 1) if is_repeat else after

    return Protocol(fail=fail)


def cancelling_what_has_ended() -> Protocol:
    """A cancel does not ask whether the job still waits."""

    def cancel(row: Row | None) -> Row:
        return transitions.cancel(replace(row, state=State.AVAILABLE) if row is not None else None)

    return Protocol(cancel=cancel)


def forgetting_at_most_once() -> Protocol:
    """Failures, snoozes and troubles put a started job back, whatever its guarantee."""

    def forgetful(function: Callable[..., Row]) -> Callable[..., Row]:
        def settle(row: Row, **arguments: Any) -> Row:
            after = function(replace(row, at_most_once=False), **arguments)
            return replace(after, at_most_once=row.at_most_once)

        return settle

    return Protocol(
        fail=forgetful(transitions.fail),
        snooze=forgetful(transitions.snooze),
        trouble=forgetful(transitions.trouble),
    )
