"""Outcomes gather while the previous batch is committing, and go out together."""

from __future__ import annotations

import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError
from tenacity import RetryCallState, wait_random_exponential

from penstock.ledger.batch import BATCH_BYTES_MAX, BATCH_JOBS_MAX
from penstock.ledger.database import LedgerUnavailable, Session, is_bad_data
from penstock.ledger.dialects import BadValue
from penstock.ledger.failpoints import Failpoint, reach
from penstock.ledger.settlement import Failure, Outcome, settle
from penstock.ledger.state import Reason, State
from penstock.workers.sessions import close_quietly

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.ledger.admission import Claim
    from penstock.ledger.database import Ledger
    from penstock.workers.holding import Holding

# With handlers of a few milliseconds a commit per job would cost more than the job: wait a moment for company.
LINGER_SECONDS = 0.004
OUTAGE_WAIT_SECONDS_MAX = 2.0
REFUSED = "RefusedByLedger"
STUCK_SECONDS = 10.0


class Settler:
    """One thread with a session of its own. During an outage outcomes wait here; nothing is dropped."""

    def __init__(
        self,
        ledger: Ledger,
        holding: Holding,
        *,
        process_id: str,
        log: Any,
        on_settled: Callable[[list[tuple[Outcome, Claim | None]], set[str]], None],
    ) -> None:
        self._ledger = ledger
        self._holding = holding
        self._process_id = process_id
        self._log = log
        self._on_settled = on_settled
        self._outcomes: SimpleQueue[Outcome | None] = SimpleQueue()
        self._waiting: dict[str, threading.Event] = {}
        self._session: Session | None = None
        self._writing_since: float | None = None
        self._gave_up = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="settler", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def is_healthy(self) -> bool:
        """Whether outcomes get through: no batch has been waiting for the ledger's answer for long."""
        since = self._writing_since
        return self._thread.is_alive() and (since is None or time.monotonic() - since < STUCK_SECONDS)

    def put(self, outcome: Outcome) -> None:
        self._outcomes.put(outcome)

    def put_and_wait(self, outcome: Outcome) -> None:
        """Return when the outcome is durable; never, when the process ends before that."""
        settled = self._waiting[outcome.job_id] = threading.Event()
        self._outcomes.put(outcome)
        settled.wait()

    def stop(self, timeout_seconds: float) -> bool:
        """Settle what is there, then end; false if the ledger did not take it all in time."""
        self._outcomes.put(None)
        self._thread.join(timeout_seconds)
        self._gave_up.set()
        return not self._thread.is_alive()

    def _loop(self) -> None:
        stopping = False
        while not stopping:
            batch, stopping = self._gather()
            self._writing_since = time.monotonic()
            if batch and (fenced := self._write(batch)) is not None:
                self._forget(batch, fenced)
            self._writing_since = None
        self._drop_session()

    def _forget(self, batch: list[Outcome], fenced: set[str]) -> None:
        """These are settled: the process holds them no more."""
        held = self._holding.claims
        settled = [(outcome, held.pop(outcome.job_id, None)) for outcome in batch]
        for outcome in batch if self._waiting else ():
            waiting = self._waiting.pop(outcome.job_id, None)
            if waiting is not None:
                waiting.set()
        try:
            self._on_settled(settled, fenced)
        except Exception:  # outcomes must go on being settled, whatever becomes of the figures
            self._log.exception("settled jobs could not be counted", jobs=len(batch))

    def _gather(self) -> tuple[list[Outcome], bool]:
        first = self._outcomes.get()
        if first is None:
            return [], True
        batch, size = [first], first.size
        until = time.monotonic() + LINGER_SECONDS
        while len(batch) < BATCH_JOBS_MAX and size < BATCH_BYTES_MAX:
            try:
                left = until - time.monotonic()
                outcome = self._outcomes.get_nowait() if left <= 0 else self._outcomes.get(timeout=left)
            except Empty:
                break
            if outcome is None:
                return batch, True
            batch.append(outcome)
            if not outcome.is_plain:
                size += outcome.size
        return batch, False

    def _write(self, batch: list[Outcome]) -> set[str] | None:
        """Settle a batch, however long the ledger is away; returns the fenced ids, or None when told to give up."""
        state = RetryCallState(retry_object=None, fn=None, args=(), kwargs={})  # type: ignore[arg-type]
        wait = wait_random_exponential(multiplier=0.05, max=OUTAGE_WAIT_SECONDS_MAX)
        while not self._gave_up.is_set():
            try:
                if self._session is None:
                    self._session = self._ledger.session()
                reach(Failpoint.SETTLING)
                fenced = settle(self._session, batch, process_id=self._process_id)
                reach(Failpoint.SETTLED)
            except (DBAPIError, LedgerUnavailable, BadValue) as error:
                if is_bad_data(error):
                    return self._write_singly(batch)
                self._log.warning("outcomes wait for the ledger", jobs=len(batch), error=type(error).__name__)
                self._drop_session()
                self._gave_up.wait(wait(state))
                state.attempt_number += 1
            except Exception as error:  # a value that cannot even be sent; this thread must not die of it
                self._log.error("a batch of outcomes cannot be sent", jobs=len(batch), error=type(error).__name__)
                self._drop_session()
                return self._write_singly(batch)
            else:
                return fenced
        return None

    def _write_singly(self, batch: list[Outcome]) -> set[str] | None:
        """One bad value fails a whole batch: find it, and record its job as dead without it."""
        if len(batch) > 1:
            middle = len(batch) // 2
            first, second = self._write(batch[:middle]), self._write(batch[middle:])
            return None if first is None or second is None else first | second
        [guilty] = batch
        self._log.error("the ledger refuses an outcome", job_id=guilty.job_id)
        if guilty.failure is not None and guilty.failure.error_class == REFUSED:
            return set()  # not even this; the self-check hands the job back
        failure = Failure("failed", REFUSED, "the ledger refused this outcome's result or follow-ups")
        return self._write([Outcome(guilty.job_id, guilty.token, State.DEAD, Reason.PERMANENT, failure=failure)])

    def _drop_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            close_quietly(session)
