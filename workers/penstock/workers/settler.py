"""Outcomes gather while the previous batch is committing, and go out together."""

from __future__ import annotations

import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from sqlalchemy.exc import DBAPIError
from tenacity import RetryCallState, wait_random_exponential

from penstock.ledger.batch import BATCH_BYTES_MAX, BATCH_JOBS_MAX
from penstock.ledger.database import LedgerUnavailable, is_bad_data
from penstock.ledger.dialects import BadValue
from penstock.ledger.failpoints import Failpoint, reach
from penstock.ledger.settlement import Failure, Outcome
from penstock.ledger.state import Reason, State
from penstock.ledger.writes import WriteRefused
from penstock.workers.sessions import close_quietly

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.ledger.admission import Claim
    from penstock.workers.holding import Holding

# With handlers of a few milliseconds a commit per job would cost more than the job: wait a moment for company.
LINGER_SECONDS = 0.004
OUTAGE_WAIT_SECONDS_MAX = 2.0
REFUSED = "RefusedByLedger"
STUCK_SECONDS = 10.0
# A write over which the connection is lost, or that loses against others, so often in a row is given up.
WRITE_TRIES_MAX = 5


class Closable(Protocol):
    """A session, of whatever kind `settle` wants."""

    def close(self) -> None: ...


S = TypeVar("S", bound=Closable)


class Settler(Generic[S]):
    """One thread with a session of its own. During an outage outcomes wait here; nothing is dropped.

    `connect` opens a session, `settle` writes a batch with it and returns the ids that were fenced. `stuck_seconds`:
    how long one batch may take before something is wrong.
    """

    def __init__(
        self,
        holding: Holding,
        *,
        connect: Callable[[], S],
        settle: Callable[[S, list[Outcome]], set[str]],
        log: Any,
        on_settled: Callable[[list[tuple[Outcome, Claim | None]], set[str]], None],
        name: str = "settler",
        stuck_seconds: float = STUCK_SECONDS,
    ) -> None:
        self._holding = holding
        self._connect = connect
        self._settle = settle
        self._log = log
        self._on_settled = on_settled
        self._stuck_seconds = stuck_seconds
        self._outcomes: SimpleQueue[Outcome | None] = SimpleQueue()
        self._waiting: dict[str, threading.Event] = {}
        self._session: S | None = None
        self._writing_since: float | None = None
        self._gave_up = threading.Event()
        self._starting = threading.Lock()
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)

    def start(self) -> None:
        """May be called again; a settler that has nothing to do may never be started."""
        if not self._is_started:
            with self._starting:
                if not self._is_started:
                    self._thread.start()

    @property
    def _is_started(self) -> bool:
        return self._thread.ident is not None

    @property
    def is_healthy(self) -> bool:
        """Whether outcomes get through: no batch has been waiting for the ledger's answer for long."""
        since = self._writing_since
        lives = self._thread.is_alive() or not self._is_started
        return lives and (since is None or time.monotonic() - since < self._stuck_seconds)

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
        if self._is_started:
            self._thread.join(timeout_seconds)
        self._gave_up.set()
        return not self._thread.is_alive()

    def _loop(self) -> None:
        stopping = False
        while not stopping:
            batch, stopping = self._gather()
            if batch:
                self._write(batch)
        self._drop_session()

    def _forget(self, batch: list[Outcome], fenced: set[str]) -> None:
        """These are settled: the process holds them no more."""
        held = self._holding.claims
        settled = [(outcome, held.pop(outcome.job_id, None)) for outcome in batch]
        self._tell_waiting(batch)
        try:
            self._on_settled(settled, fenced)
        except Exception:  # outcomes must go on being settled, whatever becomes of the figures
            self._log.exception("settled jobs could not be counted", jobs=len(batch))

    def _tell_waiting(self, batch: list[Outcome]) -> None:
        for outcome in batch if self._waiting else ():
            waiting = self._waiting.pop(outcome.job_id, None)
            if waiting is not None:
                waiting.set()

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

    def _write(self, batch: list[Outcome]) -> None:
        """Settle a batch, however long the ledger is away; in parts, where something in it is refused."""
        parts = [batch]
        while parts and not self._gave_up.is_set():
            self._writing_since = time.monotonic()
            parts += reversed(self._write_part(parts.pop()))
        self._writing_since = None

    def _write_part(self, part: list[Outcome]) -> list[list[Outcome]]:
        """Settle these together, or say in which parts to try it, in their order."""
        state = RetryCallState(retry_object=None, fn=None, args=(), kwargs={})  # type: ignore[arg-type]
        wait = wait_random_exponential(multiplier=0.05, max=OUTAGE_WAIT_SECONDS_MAX)
        refusals = 0
        while not self._gave_up.is_set():
            try:
                if self._session is None:
                    self._session = self._connect()
                reach(Failpoint.SETTLING)
                fenced = self._settle(self._session, part)
                reach(Failpoint.SETTLED)
            except WriteRefused as refusal:
                refusals += 1
                if not self._may_pass(refusal, part, refusals):
                    return self._without_refused(part, refusal)
            except (DBAPIError, LedgerUnavailable, BadValue) as error:
                if is_bad_data(error):
                    return self._without_bad(part)
                self._log.warning("outcomes wait for the ledger", jobs=len(part), error=type(error).__name__)
                self._drop_session()
            except Exception as error:  # a value that cannot even be sent; this thread must not die of it
                self._log.error("a batch of outcomes cannot be sent", jobs=len(part), error=type(error).__name__)
                self._drop_session()
                return self._without_bad(part)
            else:
                self._forget(part, fenced)
                return []
            self._gave_up.wait(wait(state))
            state.attempt_number += 1
        return []

    def _may_pass(self, refusal: WriteRefused, part: list[Outcome], refusals: int) -> bool:
        """Whether to try the same again: a single job. Of several, fewer may do: two batches that wait for each other
        do that less when they are smaller, and one that takes longer than an answer may take is done sooner."""
        if refusal.is_gone:
            self._log.warning("outcomes wait for the ledger", jobs=len(part), error=type(refusal.error).__name__)
            self._drop_session()
        return len(part) == 1 and refusal.may_pass and refusals < WRITE_TRIES_MAX

    def _without_refused(self, part: list[Outcome], refusal: WriteRefused) -> list[list[Outcome]]:
        """What stands before the guilty one goes first: refused as the first of its batch, it is so by itself."""
        first, last = refusal.first, refusal.last
        if first > 0:
            return [part[:first], part[first:]]
        if last > 0:
            middle = (last + 1) // 2
            return [part[:middle], part[middle:]]
        guilty, *others = part
        if refusal.may_pass and others:
            return [[guilty], others]
        if guilty.writes is None:
            return self._without_bad(part)
        return [[guilty.writes.refused(refusal.error)], *([others] if others else [])]

    def _without_bad(self, part: list[Outcome]) -> list[list[Outcome]]:
        """One bad value fails a whole batch: find it, and record its job as dead without it."""
        if len(part) > 1:
            middle = len(part) // 2
            return [part[:middle], part[middle:]]
        [guilty] = part
        self._log.error("the ledger refuses an outcome", job_id=guilty.job_id)
        if guilty.failure is not None and guilty.failure.error_class == REFUSED:
            self._holding.claims.pop(guilty.job_id, None)  # not even this; the self-check hands the job back
            self._tell_waiting(part)
            return []
        failure = Failure("failed", REFUSED, "the ledger refused this outcome's result or follow-ups")
        return [[Outcome(guilty.job_id, guilty.token, State.DEAD, Reason.PERMANENT, failure=failure)]]

    def _drop_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            close_quietly(session)
