"""`execute`: one claim is run and its outcome decided. Everything that happens to a job happens here.

Never in middleware hooks: Dramatiq swallows what they raise, so a failed claim would still run and a failed
retry would be acked.
"""

from __future__ import annotations

import asyncio
import math
import os
import sys
import traceback
from functools import partial
from typing import TYPE_CHECKING, Any

import dramatiq
import structlog
from dramatiq.asyncio import get_event_loop_thread
from dramatiq.errors import RateLimitExceeded
from dramatiq.middleware import SkipMessage

from penstock.ledger.completion import Fenced
from penstock.ledger.database import is_gone
from penstock.ledger.settlement import Failure, Outcome
from penstock.ledger.state import Reason, State
from penstock.ledger.writes import Writes
from penstock.schemas import Backoff, Bury, PayloadError, Retry
from penstock.schemas.keyring import UnknownKey
from penstock.schemas.retry import is_number
from penstock.schemas.sensitive import Seals, secrets_of
from penstock.workers.broker import envelope
from penstock.workers.context import Context
from penstock.workers.errors import JobCancelled, LedgerLost, OutcomeUnknown, Permanent, RunAgain, Snoozed
from penstock.workers.forks import end_fork
from penstock.workers.redaction import describe

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.ledger.admission import Claim
    from penstock.schemas import Contract, Keyring
    from penstock.workers.entry import Entry
    from penstock.workers.hooks import Hooks
    from penstock.workers.sessions import HandlerSessions

RATE_LIMIT_DELAY_SECONDS = 5.0
LOST_DELAY_SECONDS = 1.0
UNKNOWN_KEY_DELAY_SECONDS = 30.0
DELAY_SECONDS_MAX = 366 * 86400.0


class Settled:
    """The job needs no settling: its own transaction has completed it, or it belongs to somebody else by now."""

    def __init__(self, *, fenced: bool) -> None:
        self.fenced = fenced


COMPLETED = Settled(fenced=False)
FENCED = Settled(fenced=True)


class Executor:
    """Runs claims on the calling thread."""

    def __init__(
        self,
        *,
        sessions: HandlerSessions,
        hooks: Hooks | None,
        is_cancel_requested: Callable[[str], bool],
        log: Any,
        keyring: Keyring | None = None,
    ) -> None:
        self._sessions = sessions
        self._hooks = hooks
        self._is_cancel_requested = is_cancel_requested
        self._log = log
        self._keyring = keyring
        self._pid = os.getpid()

    def execute(self, claim: Claim, entry: Entry) -> Outcome | Settled:
        """Read the payload, run the handler, decide what follows. Never raises: the thread must go on."""
        try:
            return self._execute(claim, entry)
        except BaseException as error:
            self._log_stumble(claim, error)
            return _in_trouble(claim)

    def _execute(self, claim: Claim, entry: Entry) -> Outcome | Settled:
        seals = Seals(self._keyring, claim.id) if entry.sensitive else None
        try:
            payload = entry.read(claim.payload, seals)
        except PayloadError as error:
            failure = describe(error, payload=claim.payload, kind="invalid")
            return _buried(claim, Reason.INVALID_PAYLOAD, failure, counts=False)
        except UnknownKey as error:
            return self._put_back(claim, error)
        except BaseException as error:  # a validator of the job's author can raise anything
            return self._after(error, claim, entry, None)
        while True:
            ctx = Context(
                claim,
                entry.contract,
                unknown=entry.unknown,
                sessions=self._sessions,
                is_cancel_requested=self._is_cancel_requested,
                keyring=self._keyring,
            )
            try:
                self._run(entry, payload, ctx)
            except RunAgain as error:
                if entry.contract.guarantee == "at_most_once":
                    return self._after(error, claim, entry, payload)
                continue
            except BaseException as error:
                if ctx.is_completed:
                    self._log_after_completion(claim, error)
                    return COMPLETED
                return self._after(error, claim, entry, payload)
            if ctx.is_completed:
                return COMPLETED
            writes = Writes(ctx.writes, partial(self._refused, claim, entry, payload)) if ctx.writes else None
            return Outcome(
                claim.id,
                claim.token,
                State.COMPLETED,
                result=ctx.encoded_result,
                follow_ups=ctx.follow_ups,
                writes=writes,
            )

    def _refused(self, claim: Claim, entry: Entry, payload: Any, error: Exception) -> Outcome:
        """What follows when the database refuses what the handler has left to it. Never raises."""
        judged = LedgerLost() if is_gone(error) else error  # as under a handler's own statement
        try:
            outcome = self._after(judged, claim, entry, payload)
        except BaseException as mistake:
            self._log_stumble(claim, mistake)
            return _in_trouble(claim)
        return outcome if isinstance(outcome, Outcome) else _in_trouble(claim)

    def _run(self, entry: Entry, payload: Any, ctx: Context) -> None:
        if self._hooks is not None:
            message = envelope(entry.actor, ctx.job_id, payload)
            self._hooks.around(message, lambda: self._call(entry, payload, ctx))
        else:
            self._call(entry, payload, ctx)

    def _call(self, entry: Entry, payload: Any, ctx: Context) -> Any:
        if not entry.is_async:
            try:
                return entry.call(payload, ctx)
            finally:
                if os.getpid() != self._pid:
                    error = sys.exc_info()[0]
                    end_fork("it returned" if error is None else error.__name__)
        loop = get_event_loop_thread()
        if loop is None:
            raise RuntimeError("an async handler needs the event loop thread, which this process did not start")
        return loop.run_coroutine(_within(entry.call(payload, ctx), entry.contract.timeout_seconds))

    def _after(self, error: BaseException, claim: Claim, entry: Entry, payload: Any) -> Outcome | Settled:
        """What follows an attempt that did not return; `payload` is None where it could not even be read."""
        contract = entry.contract
        if isinstance(error, Fenced):
            return FENCED
        if isinstance(error, Snoozed):
            return Outcome(claim.id, claim.token, State.SCHEDULED, counts=False, delay_seconds=error.seconds)
        if isinstance(error, JobCancelled | SkipMessage):
            return Outcome(claim.id, claim.token, State.CANCELLED, Reason.CANCELLED)
        if contract.guarantee == "at_most_once" and isinstance(error, LedgerLost | RunAgain):
            # The ledger would refuse to run it again; say why while we know.
            return _buried(claim, Reason.OUTCOME_UNKNOWN, _described(error, claim, entry, payload, kind="lost"))
        if isinstance(error, RateLimitExceeded) and contract.guarantee != "at_most_once":
            delay = RATE_LIMIT_DELAY_SECONDS
            return Outcome(claim.id, claim.token, State.SCHEDULED, counts=False, delay_seconds=delay)
        if isinstance(error, LedgerLost):
            return _in_trouble(claim)
        kind = "timeout" if isinstance(error, TimeoutError) else "failed"
        failure = _described(error, claim, entry, payload, kind=kind)
        self._log.warning(
            "attempt failed",
            job_id=claim.id,
            job_type=claim.type,
            attempt=claim.attempts + 1,
            error_class=failure.error_class,
            fingerprint=failure.fingerprint,
        )
        if isinstance(error, OutcomeUnknown):
            return _buried(claim, Reason.OUTCOME_UNKNOWN, failure)
        if isinstance(error, (Permanent, *contract.permanent)):
            return _buried(claim, Reason.PERMANENT, failure)
        return decide_retry(claim, entry, error, failure)

    def _put_back(self, claim: Claim, error: UnknownKey) -> Outcome:
        """Somebody has the key; here it is not, or not any more."""
        self._log.warning(
            "no key for a sealed field", job_id=claim.id, job_type=claim.type, key_id=error.key_id, remedy=str(error)
        )
        delay = UNKNOWN_KEY_DELAY_SECONDS
        return Outcome(claim.id, claim.token, State.AVAILABLE, Reason.UNKNOWN_KEY, counts=False, delay_seconds=delay)

    def _log_stumble(self, claim: Claim, error: BaseException) -> None:
        self._log.error(
            "the engine stumbled over a job",
            job_id=claim.id,
            job_type=claim.type,
            error_class=type(error).__name__,
            where=traceback.format_tb(error.__traceback__)[-1],
        )

    def _log_after_completion(self, claim: Claim, error: BaseException) -> None:
        self._log.warning(
            "the handler raised after its transaction had completed the job",
            job_id=claim.id,
            job_type=claim.type,
            error_class=type(error).__name__,
        )


def decide_retry(claim: Claim, entry: Entry, error: BaseException, failure: Failure) -> Outcome:
    """Again later, or buried: the contract's bound first, then its policy."""
    contract = entry.contract
    if contract.guarantee == "at_most_once":
        return _buried(claim, Reason.ATTEMPTS, failure)
    if claim.attempts + 1 >= contract.max_attempts:
        return _buried(claim, Reason.ATTEMPTS, failure)
    decision = _ask_policy(contract, claim, error)
    if isinstance(decision, Bury):
        return _buried(claim, decision.reason, failure)
    return Outcome(claim.id, claim.token, State.RETRYABLE, delay_seconds=decision.delay_seconds, failure=failure)


def _ask_policy(contract: Contract, claim: Claim, error: BaseException) -> Retry | Bury:
    """What the job's author has decided; a policy that fails at it is replaced by the default one."""
    attempt = claim.attempts + 1
    decision: object
    try:
        decision = contract.retry.decide(attempt, error)
    except BaseException as mistake:
        decision = mistake
    said = decision.delay_seconds if isinstance(decision, Retry) else None
    if isinstance(decision, Bury) and isinstance(decision.reason, str):
        return decision
    if is_number(said) and 0 <= said < math.inf:
        return Retry(min(said, DELAY_SECONDS_MAX))
    structlog.get_logger().error(
        "a retry policy gave no decision; the default one decides",
        job_id=claim.id,
        job_type=contract.type,
        policy=type(contract.retry).__name__,
        gave=type(decision).__name__,
        remedy="give Retry(seconds), a number of 0 or more, or Bury(reason), a text",
    )
    return Backoff().decide(attempt, error)


def _described(error: BaseException, claim: Claim, entry: Entry, payload: Any, *, kind: str) -> Failure:
    """The failure as it may be shown: neither what the payload says, nor what its sealed fields hold."""
    if not entry.sensitive:
        return describe(error, payload=claim.payload, kind=kind)
    secrets = () if payload is None else secrets_of(payload, entry.sensitive)
    return describe(error, payload=claim.payload, kind=kind, secrets=secrets, silent=payload is None)


def _in_trouble(claim: Claim) -> Outcome:
    return Outcome(claim.id, claim.token, State.AVAILABLE, counts=False, delay_seconds=LOST_DELAY_SECONDS, trouble=True)


def _buried(claim: Claim, reason: Reason | str, failure: Failure, *, counts: bool = True) -> Outcome:
    return Outcome(claim.id, claim.token, State.DEAD, reason, counts=counts, failure=failure)


async def _within(call: Any, seconds: float) -> Any:
    """A coroutine can be stopped at its deadline without harm to others."""
    async with asyncio.timeout(seconds):
        return await call


__all__ = ["COMPLETED", "FENCED", "Executor", "Settled", "decide_retry", "dramatiq"]
