"""What a handler gets beside its job."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pydantic_core
import structlog
from pydantic_core import PydanticSerializationError
from sqlalchemy.exc import DBAPIError

from penstock.ledger import effects
from penstock.ledger.admission import Offer, offer
from penstock.ledger.completion import Fenced, complete_and_commit, hold_within, is_completed_under
from penstock.ledger.database import Session, is_disconnect, is_passing
from penstock.ledger.effects import EffectState
from penstock.ledger.failpoints import Failpoint, reach
from penstock.ledger.state import State
from penstock.ledger.writes import WRITES_MAX, WriteRefused, check_write, execute_writes
from penstock.schemas import Message
from penstock.schemas.retry import is_number
from penstock.workers.effect import RESULT_BYTES_MAX, EffectStep, Resumption, check_step, known_result, resume
from penstock.workers.errors import JobCancelled, LedgerLost, OutcomeUnknown, RunAgain, Snoozed
from penstock.workers.lending import lent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sqlalchemy import Connection, Executable

    from penstock.ledger.admission import Claim
    from penstock.ledger.writes import Write
    from penstock.schemas import Contract, Job, Keyring
    from penstock.workers.effect import Unknown
    from penstock.workers.sessions import HandlerSessions


class Context:
    """One attempt of one job.

    `job_id` and `idempotency_key` are the same over all attempts; `attempt` counts from 1. `deadline` is when
    this attempt is given up.
    """

    __slots__ = (
        "_claim",
        "_contract",
        "_follow_ups",
        "_in_transaction",
        "_is_cancel_requested",
        "_keyring",
        "_log",
        "_result",
        "_sessions",
        "_started_at",
        "_unknown",
        "_writes",
        "is_completed",
    )

    def __init__(
        self,
        claim: Claim,
        contract: Contract,
        *,
        unknown: Unknown,
        sessions: HandlerSessions,
        is_cancel_requested: Callable[[str], bool],
        keyring: Keyring | None = None,
    ) -> None:
        self._claim = claim
        self._contract = contract
        self._unknown = unknown
        self._sessions = sessions
        self._is_cancel_requested = is_cancel_requested
        self._keyring = keyring
        self._follow_ups: list[Offer] = []
        self._writes: list[Write] = []
        self._result: bytes | None = None
        self._in_transaction = False
        self._log: Any = None
        self._started_at: datetime | None = None
        self.is_completed = False

    @property
    def job_id(self) -> str:
        return self._claim.id

    @property
    def attempt(self) -> int:
        return self._claim.attempts + 1

    @property
    def idempotency_key(self) -> str:
        return self._claim.id

    @property
    def key(self) -> str | None:
        """The dedup key it was published with."""
        return self._claim.key

    @property
    def tenant(self) -> str | None:
        return self._claim.tenant

    @property
    def correlation_id(self) -> str | None:
        return self._claim.correlation_id

    @property
    def deadline(self) -> datetime:
        if self._started_at is None:
            self._started_at = datetime.now(UTC)
        return self._started_at + timedelta(seconds=self._contract.timeout_seconds)

    @property
    def log(self) -> Any:
        """A structlog logger bound to the job's id, type and attempt."""
        if self._log is None:
            self._log = structlog.get_logger("penstock.handler").bind(
                job_id=self.job_id, job_type=self._claim.type, attempt=self.attempt
            )
        return self._log

    @property
    def result(self) -> Any:
        return None if self._result is None else pydantic_core.from_json(self._result)

    @result.setter
    def result(self, value: Any) -> None:
        """What the job leaves behind for whoever asks: anything that JSON can hold, at most 64 KiB."""
        self._require_open("ctx.result")
        try:
            encoded = pydantic_core.to_json(value)
        except PydanticSerializationError as error:
            raise ValueError(
                f"ctx.result takes what JSON can hold, and no {type(value).__name__} like this one"
            ) from error
        if len(encoded) > RESULT_BYTES_MAX:
            raise ValueError(f"ctx.result has {len(encoded)} bytes of JSON, at most {RESULT_BYTES_MAX} are kept")
        self._result = encoded

    @property
    def cancel_requested(self) -> bool:
        """Whether somebody wants this job cancelled; looked up every second."""
        return self._claim.cancel_requested or self._is_cancel_requested(self.job_id)

    def check_cancelled(self) -> None:
        """Stop here, as cancelled, if somebody wants that."""
        if self.cancel_requested:
            raise JobCancelled

    def snooze(self, seconds: float) -> None:
        """Stop here and run again after `seconds`, without using up an attempt. Not for `at_most_once` jobs."""
        if not is_number(seconds) or not 0 <= seconds <= 366 * 86400:
            raise ValueError(f"snooze takes between 0 seconds and a year, as a number, not {seconds!r}")
        if self._contract.guarantee == "at_most_once":
            raise RuntimeError(f"{self._claim.type} is at_most_once: what has started cannot be put off and run again")
        raise Snoozed(seconds)

    def publish(
        self,
        job: Job,
        *,
        key: str | None = None,
        due_at: datetime | None = None,
        delay: timedelta | None = None,
    ) -> str:
        """Publish a follow-up job; returns its id. It is accepted with this job's completion, or not at all."""
        self._require_open("ctx.publish()")
        message = Message.of(
            job,
            key=key,
            due_at=due_at,
            delay=delay,
            tenant=self._claim.tenant,
            correlation_id=self._claim.correlation_id or self.job_id,
            traceparent=self._claim.traceparent,
            keyring=self._keyring,
        )
        is_later = message.due_at is not None and message.due_at > datetime.now(UTC)
        state = State.SCHEDULED if is_later else State.AVAILABLE
        self._follow_ups.append(offer(message, job.contract(), state=state))
        return message.id

    def write(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> None:
        """Execute a statement in the transaction that completes the job: exactly once, or not at all.

        ```python
        ctx.write(insert(orders), {"number": 7})
        ```
        `statement` is SQLAlchemy's: `text()`, `insert()`, `update()`, `delete()`. Nothing of it is to be seen before
        this attempt has ended, and nothing comes back. Completions of many jobs commit together, so that it costs less
        than `ctx.transaction()`. What the database then refuses fails the attempt, as if the handler had raised it.
        Raises `TypeError` and `ValueError` for what can never be executed.
        """
        self._require_open("ctx.write()")
        if len(self._writes) >= WRITES_MAX:
            raise ValueError(
                f"ctx.write() takes {WRITES_MAX} statements of a job: write many rows in one statement, "
                "or in ctx.transaction()"
            )
        self._writes.append(check_write(statement, parameters))

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """The completing transaction: what is written here commits together with the job's completion, fenced.

        Once per attempt, as the last thing that must be durable. An error inside rolls everything back; an error
        after it is logged, not retried. Raises `RuntimeError` on a second use, in a coroutine that awaits inside, and
        for a `commit()` or `rollback()` inside: `connection.begin_nested()` is for a part of it.
        """
        self._require_open("a second ctx.transaction()")
        with self._open() as connection:
            with lent(connection):
                yield connection
            self._sessions.require_unawaited(connection)
            if self._writes:
                self._execute_writes(connection)
            reach(Failpoint.COMMITTING)
            self._complete(connection)
        self.is_completed = True
        reach(Failpoint.COMMITTED)

    @contextmanager
    def checkpoint(self) -> Iterator[Connection]:
        """A fenced transaction that does not complete the job: progress that a later attempt can build on."""
        self._require_open("ctx.checkpoint()")
        with self._open() as connection:
            self._hold(connection)
            with lent(connection):
                yield connection
            self._sessions.require_unawaited(connection)
            connection.commit()

    @contextmanager
    def effect(self, step: str, *, definite: tuple[type[BaseException], ...] = ()) -> Iterator[EffectStep]:
        """An effect outside the ledger: mail, webhook, HTTP.

        ```python
        with ctx.effect("send") as effect:
            if effect.needed:
                provider.send(…, idempotency_key=effect.key)
        ```
        The intent is durable before the block, the outcome after it. An exception of a class in `definite` means
        that nothing happened; any other leaves the outcome unknown, and the handler's declared policy decides.
        Raises `ValueError` for a `step` that is no name.
        """
        self._require_no_transaction("ctx.effect()")
        check_step(step, definite)
        claim, sessions = self._claim, self._sessions
        key = f"{claim.id}:{step}"
        known = sessions.once(
            lambda session: effects.intend(session, job_id=claim.id, token=claim.token, step=step, key=key)
        )
        effect = self._resume(step, known)
        reach(Failpoint.INTENDED)
        try:
            yield effect
        except BaseException as error:
            if effect.needed and (effect.happened is False or isinstance(error, definite)):
                self._record(step, EffectState.NOT_DONE)
            raise
        reach(Failpoint.HAPPENED)
        if effect.needed:
            result = None if effect.result is None else pydantic_core.to_json(effect.result)
            self._record(step, EffectState.DONE, result)
        reach(Failpoint.RECORDED)

    @property
    def follow_ups(self) -> tuple[Offer, ...]:
        return tuple(self._follow_ups)

    @property
    def writes(self) -> tuple[Write, ...]:
        return tuple(self._writes) if self._writes else ()

    @property
    def encoded_result(self) -> bytes | None:
        return self._result

    def _require_open(self, what: str) -> None:
        """After the completing transaction nothing more can be written with it, and so would be lost."""
        if self.is_completed:
            raise RuntimeError(f"{what} comes too late: ctx.transaction() has completed this job; use it before that")

    def _require_no_transaction(self, what: str) -> None:
        """It has a transaction of its own, which would wait for the locks of the one around it."""
        if self._in_transaction:
            raise RuntimeError(f"{what} stands inside ctx.transaction() or ctx.checkpoint(): put it before or after")

    def _resume(self, step: str, known: effects.Effect) -> EffectStep:
        how = resume(known.state, self._unknown.policy)
        if how is Resumption.PARK:
            raise OutcomeUnknown(f"step {step!r}: an earlier attempt stopped between the effect and its record")
        needed = how is not Resumption.SKIP
        if how is Resumption.ASK and self._ask(step, known.key):
            self._record(step, EffectState.DONE)
            needed = False
        result = known_result(known) if how is Resumption.SKIP else None
        return EffectStep(known.key, needed=needed, repeated=how is not Resumption.DO, result=result)

    def _ask(self, step: str, key: str) -> bool:
        """The provider's answer; raises `OutcomeUnknown` when it has none."""
        answer = self._unknown.ask(step, key) if self._unknown.ask is not None else None
        if answer is None:
            raise OutcomeUnknown(f"step {step!r}: the provider cannot tell whether it happened")
        return answer

    def _record(self, step: str, state: EffectState, result: bytes | None = None) -> None:
        claim = self._claim
        self._sessions.insist(
            lambda session: effects.record_outcome(
                session, job_id=claim.id, token=claim.token, step=step, state=state, result=result
            )
        )

    @contextmanager
    def _open(self) -> Iterator[Connection]:
        """A connection whose loss is told apart from the handler's own errors by its state, not by the exception."""
        self._require_no_transaction("ctx.transaction() or ctx.checkpoint()")
        with self._sessions.connection(timeout_seconds=self._contract.timeout_seconds) as connection:
            self._in_transaction = True
            try:
                yield connection
            except Fenced:
                connection.rollback()
                self._settle_fenced()
            except BaseException as error:
                if connection.invalidated and not isinstance(error, RunAgain):
                    raise LedgerLost from error
                raise
            finally:
                self._in_transaction = False

    def _execute_writes(self, connection: Connection) -> None:
        try:
            execute_writes(connection, [(0, self._writes)])
        except WriteRefused as refusal:
            raise refusal.error from None

    def _complete(self, connection: Connection) -> None:
        claim = self._claim
        try:
            complete_and_commit(
                connection,
                job_id=claim.id,
                token=claim.token,
                result=self._result,
                follow_ups=tuple(self._follow_ups),
            )
        except DBAPIError as error:
            if not is_disconnect(error):
                if is_passing(error):  # refused, and so rolled back
                    raise LedgerLost from error
                raise
            # The COMMIT may have landed: only the row can tell.
            if not self._sessions.insist(self._is_completed):
                raise RunAgain from error

    def _hold(self, connection: Connection) -> None:
        try:
            hold_within(connection, job_id=self._claim.id, token=self._claim.token)
        except DBAPIError as error:
            if is_passing(error):
                raise LedgerLost from error
            raise

    def _settle_fenced(self) -> None:
        """Zero rows: another owner, or a COMMIT of ours that landed after we had stopped waiting for it."""
        if not self._sessions.insist(self._is_completed):
            raise Fenced(self._claim.id)

    def _is_completed(self, session: Session) -> bool:
        return is_completed_under(session, job_id=self._claim.id, token=self._claim.token)
