"""Group commit: the jobs of concurrent requests become durable together.

One thread with one session. While a batch commits, the next one gathers; so a batch is as large as the commit is
slow, and a lone request waits for nobody.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.exc import DBAPIError

from penstock.ledger.admission import Admission, Admitted, Offer, admit
from penstock.ledger.database import Ledger, LedgerUnavailable, Session, is_bad_data, is_disconnect, sqlstate
from penstock.ledger.failpoints import Failpoint, reach
from penstock.ledger.jobs import standings
from penstock.ledger.state import Reason

BATCH_JOBS_MAX = 500
WAITING_JOBS_MAX = 20_000
PATIENCE_SECONDS = 5.0
# A dedup key can be held by a handler's open transaction: one such request must not hold up its neighbours.
LOCK_TIMEOUT = "500ms"
LOCKED = ("55P03", "57014")
PAUSE_SECONDS = 0.1
# An idle gateway must know too whether the ledger is there; a commit under way proves it only when it ends.
PROBE_SECONDS = 1.0
SILENT_SECONDS_MAX = PATIENCE_SECONDS + PROBE_SECONDS


class TooMany(Exception):
    """More jobs wait for their commit than this process wants to hold."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of some offers: by id, `first` for duplicates; `refused` has what could not be written, and why."""

    outcomes: dict[str, Admitted] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)
    refused: dict[str, BaseException] = field(default_factory=dict)

    def add(self, admission: Admission) -> None:
        self.outcomes.update(admission.outcomes)
        self.first.update(admission.first)


@dataclass(slots=True, eq=False)
class _Request:
    """The offers of one HTTP request. `is_repeat`: an earlier attempt may have committed them."""

    offers: Sequence[Offer]
    answer: "asyncio.Future[Accepted]"
    deadline: float
    is_repeat: bool = False


class Acceptance:
    """Accepts offers from the event loop that `start` runs on; `close` waits for what is under way."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        batch_jobs_max: int = BATCH_JOBS_MAX,
        patience_seconds: float = PATIENCE_SECONDS,
        observe: Callable[[int, float], None] = lambda jobs, seconds: None,
        log: Any,
    ) -> None:
        self._ledger = ledger
        self._batch_jobs_max = batch_jobs_max
        self._patience_seconds = patience_seconds
        self._observe = observe
        self._log = log
        self._waiting: deque[_Request] = deque()
        self._waiting_jobs = 0
        self._changed = threading.Condition()
        self._closing = False
        self.is_troubled = False  # as far as the last try tells
        self._answered_at = float("-inf")
        self._session: Session | None = None
        self._thread = threading.Thread(target=self._run, name="accept", daemon=True)

    def start(self) -> None:
        """Call it on the event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def accept(self, offers: Sequence[Offer]) -> Accepted:
        """Returns when they are committed. Raises `LedgerUnavailable` after a few seconds, and `TooMany`.

        After either, nobody can tell whether they were accepted: only the same key makes a repeat safe.
        """
        request = _Request(offers, self._loop.create_future(), time.monotonic() + self._patience_seconds)
        with self._changed:
            if self._closing or self._waiting_jobs + len(offers) > WAITING_JOBS_MAX:
                raise TooMany
            self._waiting.append(request)
            self._waiting_jobs += len(offers)
            self._changed.notify()
        try:
            # The thread itself may hang in a connection that has gone silent.
            async with asyncio.timeout(self._patience_seconds + 1.0):
                return await request.answer
        except TimeoutError:
            self.is_troubled = True
            raise LedgerUnavailable("the ledger did not answer in time") from None

    def close(self) -> None:
        """Commit what waits, then end; blocks."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(self._patience_seconds + 1.0)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def is_answered(self) -> bool:
        """Whether the ledger has answered lately; somebody asks it, also while no job comes."""
        return not self.is_troubled and time.monotonic() - self._answered_at < SILENT_SECONDS_MAX

    def _run(self) -> None:
        self._probe()
        while (batch := self._gather()) is not None:
            if batch:
                self._take(batch)
            else:
                self._probe()
        if self._session is not None:
            self._session.close()

    def _gather(self) -> list[_Request] | None:
        """The requests that wait, up to one batch, without those that were given up; waits for the first one.

        None at the end; no requests when it is time to see whether the ledger is there.
        """
        with self._changed:
            while True:
                batch: list[_Request] = []
                jobs = 0
                while self._waiting and (not batch or jobs + len(self._waiting[0].offers) <= self._batch_jobs_max):
                    request = self._waiting.popleft()
                    self._waiting_jobs -= len(request.offers)
                    if not request.answer.done():
                        batch.append(request)
                        jobs += len(request.offers)
                if batch or self._closing:
                    return batch or None
                if not self._changed.wait(PROBE_SECONDS):
                    return []

    def _take(self, batch: list[_Request]) -> None:
        """Accept them or put them back; whoever has waited too long is told."""
        started = time.monotonic()
        try:
            accepted = self._admit(batch)
            reach(Failpoint.ACCEPTED)
        except Exception as error:
            self.is_troubled = True
            self._trouble(batch, error)
            return
        self._note_answer()
        self._observe(sum(len(request.offers) for request in batch), time.monotonic() - started)
        self._loop.call_soon_threadsafe(_answer, batch, accepted)

    def _probe(self) -> None:
        try:
            self._session = self._session or self._open()
            self._session.connection.exec_driver_sql("SELECT 1 FROM jobs LIMIT 1")
        except Exception as error:
            self._log.debug("the ledger does not answer", error=type(error).__name__)
            self.is_troubled = True
            self._drop_session()
        else:
            self._note_answer()

    def _note_answer(self) -> None:
        self.is_troubled = False
        self._answered_at = time.monotonic()

    def _admit(self, batch: list[_Request]) -> Accepted:
        session = self._session = self._session or self._open()
        offers = [offer for request in batch for offer in request.offers]
        accepted = Accepted()
        try:
            accepted.add(admit(session, offers))
        except Exception as error:
            if not _is_of_one(error):
                raise
            self._admit_each(session, offers, accepted)
        repeated = [offer.message.id for request in batch if request.is_repeat for offer in request.offers]
        _find_conflicts(session, repeated, accepted)
        return accepted

    def _admit_each(self, session: Session, offers: Sequence[Offer], accepted: Accepted) -> None:
        """One job is guilty, of a value or of a key that somebody holds: its neighbours are not."""
        for offer in offers:
            try:
                accepted.add(admit(session, [offer]))
            except Exception as error:
                if not _is_of_one(error):
                    raise
                accepted.refused[offer.message.id] = error

    def _open(self) -> Session:
        session = self._ledger.session()
        if session.dialect.name == "postgresql":
            session.connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        return session

    def _trouble(self, batch: list[_Request], error: Exception) -> None:
        """The ledger is gone, or failed in a way of its own: try again on a new session until they lose patience."""
        self._log.warning("not accepted yet", error=type(error).__name__, jobs=sum(len(it.offers) for it in batch))
        self._drop_session()
        now = time.monotonic()
        late = [it for it in batch if it.deadline <= now or not is_disconnect(error)]
        with self._changed:
            for request in reversed([it for it in batch if it not in late]):
                request.is_repeat = True
                self._waiting.appendleft(request)
                self._waiting_jobs += len(request.offers)
            # Whoever came meanwhile has a deadline too.
            late += [it for it in self._waiting if it.deadline <= now]
            self._waiting = deque(it for it in self._waiting if it.deadline > now)
            self._waiting_jobs = sum(len(it.offers) for it in self._waiting)
        self._loop.call_soon_threadsafe(_fail, late, error)
        time.sleep(PAUSE_SECONDS)

    def _drop_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            try:
                session.close()
            except Exception:
                self._log.debug("the session could not be closed")


def _is_of_one(error: Exception) -> bool:
    """Whether one of the jobs is to blame, and the session is well."""
    return is_bad_data(error) or (isinstance(error, DBAPIError) and sqlstate(error) in LOCKED)


def _find_conflicts(session: Session, ids: list[str], accepted: Accepted) -> None:
    """Asked again, the ledger calls what it committed the first time a duplicate: also a conflict that it recorded."""
    own = [it for it in ids if accepted.outcomes.get(it) is Admitted.DUPLICATE and it not in accepted.first]
    for job_id, standing in standings(session, own).items():
        if standing.reason == Reason.KEY_CONFLICT:
            accepted.outcomes[job_id] = Admitted.CONFLICT


def _answer(batch: list[_Request], accepted: Accepted) -> None:
    for request in batch:
        if not request.answer.done():
            request.answer.set_result(accepted)


def _fail(batch: list[_Request], error: Exception) -> None:
    for request in batch:
        if not request.answer.done():
            request.answer.set_exception(error)
