"""The rescuer frees jobs of processes that vanished with their host, and prunes what has ended long ago.

Where nobody dispatches, it also tells what is due and waits.
"""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from penstock.ledger import processes
from penstock.ledger.database import LedgerUnavailable, Session
from penstock.ledger.dispatches import due_queues
from penstock.ledger.rescue import rescue_lost
from penstock.ledger.retention import prune
from penstock.workers.liveness import is_held
from penstock.workers.sessions import close_quietly

if TYPE_CHECKING:
    from penstock.ledger.database import Ledger
    from penstock.workers.caretaker_metrics import CaretakerMetrics
    from penstock.workers.metrics import Metrics

READ_SECONDS = 1.0
LAPSE_SECONDS = 15.0
# A longer pause between two reads (an outage, a frozen rescuer) proves nothing about anybody: start over.
GAP_SECONDS_MAX = 5.0
PRUNE_SECONDS = 60.0
# Of every second: enough for some ten thousand jobs, which is more than a pool finishes, and little beside its claims.
PRUNE_BUSY_SECONDS = 0.25
COUNT_DUE_SECONDS = 5.0
HEALTHY_SECONDS = 10.0


class Lapses:
    """Judges, without I/O, whose heartbeat has lapsed: unchanged through 15 s of our own uninterrupted reads."""

    def __init__(self, *, lapse_seconds: float = LAPSE_SECONDS, gap_seconds_max: float = GAP_SECONDS_MAX) -> None:
        self._lapse_seconds = lapse_seconds
        self._gap_seconds_max = gap_seconds_max
        self._seen: dict[str, tuple[object, float]] = {}
        self._read_at: float | None = None

    def observe(self, signs: dict[str, object], *, now: float) -> list[str]:
        """`signs` maps process ids to what changes while they live; `now` is monotonic. Returns who has lapsed."""
        if self._read_at is not None and now - self._read_at > self._gap_seconds_max:
            self.forget()
        self._read_at = now
        self._seen = {process_id: (sign, self._since(process_id, sign, now)) for process_id, sign in signs.items()}
        return [process_id for process_id, (_, since) in self._seen.items() if now - since >= self._lapse_seconds]

    def forget(self) -> None:
        """A read failed: what was seen before it counts no more."""
        self._seen = {}

    def _since(self, process_id: str, sign: object, now: float) -> float:
        before = self._seen.get(process_id)
        return before[1] if before is not None and before[0] == sign else now


class Rescuer:
    """One thread. Any number of rescuers may run: a job is freed once, whoever comes first."""

    def __init__(self, ledger: Ledger, *, metrics: Metrics, care: CaretakerMetrics, counts_due: bool, log: Any) -> None:
        self._ledger = ledger
        self._metrics = metrics
        self._care = care
        self._counts_due = counts_due
        self._log = log
        self._lapses = Lapses()
        self._session: Session | None = None
        self._pruned_at = self._passed_at = time.monotonic()
        self._counted_at = -1e9
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="rescuer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(timeout=5)

    @property
    def is_healthy(self) -> bool:
        """Whether passes end without an error, whoever is to be rescued."""
        return time.monotonic() - self._passed_at < HEALTHY_SECONDS

    def _loop(self) -> None:
        while not self._stopping.wait(READ_SECONDS):
            try:
                if self._session is None:
                    self._session = self._ledger.session()
                self._look(self._session)
                self._prune(self._session)
                self._count_due(self._session)
                self._passed_at = time.monotonic()
                self._care.rescuer_passed()
            except (DBAPIError, LedgerUnavailable) as error:
                self._log.warning("nobody is judged until the ledger answers", error=type(error).__name__)
                self._lapses.forget()
                self._drop_session()
            except Exception:
                self._log.exception("the rescuer stumbled")
                self._lapses.forget()
                self._drop_session()
        self._drop_session()

    def _look(self, session: Session) -> None:
        signs: dict[str, object] = dict.fromkeys(processes.orphans(session), "orphan")
        for process in processes.list_processes(session):
            if process.lock_path is None:
                signs[process.id] = process.beat
            elif process.host == socket.gethostname() and is_held(process.lock_path):
                signs[process.id] = time.monotonic()
            else:
                signs[process.id] = "unlocked"
        for process_id in self._lapses.observe(signs, now=time.monotonic()):
            rescued = rescue_lost(session, process_id=process_id)
            processes.deregister(session, process_id)
            self._metrics.rescued(rescued)
            self._log.warning("a worker process vanished", process_id=process_id, jobs_freed=len(rescued))

    def _prune(self, session: Session) -> None:
        if time.monotonic() - self._pruned_at < PRUNE_SECONDS:
            return
        if not prune(session, seconds=PRUNE_BUSY_SECONDS):
            self._pruned_at = time.monotonic()

    def _count_due(self, session: Session) -> None:
        if self._counts_due and time.monotonic() - self._counted_at > COUNT_DUE_SECONDS:
            self._care.due(due_queues(session))
            self._counted_at = time.monotonic()

    def _drop_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            close_quietly(session)
