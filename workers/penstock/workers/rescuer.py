"""The rescuer frees jobs of processes that vanished with their host, and prunes what has ended long ago.

Where nobody dispatches, it also tells what is due and waits.
"""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

from penstock.ledger import processes
from penstock.ledger.dispatches import due_queues
from penstock.ledger.rescue import rescue_lost
from penstock.ledger.retention import prune
from penstock.workers.liveness import is_held
from penstock.workers.loop import Loop

if TYPE_CHECKING:
    from penstock.ledger.database import Ledger, Session
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


class Rescuer(Loop):
    """A job is freed once, whichever rescuer comes first."""

    def __init__(self, ledger: Ledger, *, metrics: Metrics, care: CaretakerMetrics, counts_due: bool, log: Any) -> None:
        super().__init__(ledger, name="rescuer", healthy_seconds=HEALTHY_SECONDS, log=log)
        self._metrics = metrics
        self._care = care
        self._counts_due = counts_due
        self._lapses = Lapses()
        self._pruned_at = time.monotonic()
        self._counted_at = -1e9

    def _pass(self, session: Session) -> float:
        self._look(session)
        self._prune(session)
        self._count_due(session)
        self._care.rescuer_passed()
        return READ_SECONDS

    def _upset(self) -> None:
        """Nobody is judged by what was seen before an outage."""
        self._lapses.forget()

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
