"""One worker process: from the fork to its end. Puts the parts together and stops them in order."""

from __future__ import annotations

import contextlib
import gc
import math
import os
import socket
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from dramatiq.asyncio import get_event_loop_thread, set_event_loop_thread
from sqlalchemy.exc import DBAPIError
from tenacity import Retrying, retry_if_exception_type, wait_random_exponential

from penstock.ledger import processes
from penstock.ledger.claims import has_suspects
from penstock.ledger.database import Ledger, LedgerUnavailable
from penstock.ledger.processes import Process
from penstock.ledger.revision import check_schema
from penstock.ledger.settlement import Outcome, settle, settle_with_writes
from penstock.ledger.state import Reason, State
from penstock.workers import board
from penstock.workers.deliveries import Deliveries
from penstock.workers.event_loop import EventLoop
from penstock.workers.execution import Executor
from penstock.workers.forks import keep_from_forks
from penstock.workers.holding import Holding
from penstock.workers.hooks import Hooks
from penstock.workers.intake import AmqpIntake, Intake
from penstock.workers.ledger_intake import LedgerIntake
from penstock.workers.metric_files import MetricFiles
from penstock.workers.metrics import Metrics
from penstock.workers.pulse import Pulse
from penstock.workers.reading import Reader
from penstock.workers.sessions import HandlerSessions
from penstock.workers.settler import Settler
from penstock.workers.threads import WorkerThread

if TYPE_CHECKING:
    from pathlib import Path

    from penstock.workers.board import Page
    from penstock.workers.liveness import FileLock
    from penstock.workers.pool import Pool
    from penstock.workers.registry import Registry

FLUSH_SECONDS = 10.0
GC_THRESHOLDS = (50_000, 20, 50)
LANE_IDLE_SECONDS = 3.0
WAIT_STEP_SECONDS = 0.02
# Statements of handlers may take their time; after so long the session gives up by itself.
WRITING_STUCK_SECONDS = 90.0


class WorkerProcess:
    """Claims, runs and settles until it is told to stop; `lane` makes it run suspects, one at a time."""

    def __init__(
        self,
        pool: Pool,
        registry: Registry,
        *,
        page: Page,
        lock: FileLock,
        process_id: str,
        metrics_dir: Path,
        slot: str,
        lane: bool,
        log: Any,
    ) -> None:
        self.pool = pool
        self.registry = registry
        self.page = page
        self.lock = lock
        self.process_id = process_id
        self.lane = lane
        self.log = log.bind(process_id=process_id, slot=slot)
        self.threads = 1 if lane else pool.threads
        self.queues = sorted(registry.bindings(pool.queues))
        self.ledger = Ledger(pool.database_url, announces=not pool.has_broker)
        self.holding = Holding(threads=self.threads)
        self.metrics = Metrics(MetricFiles(metrics_dir, slot))
        self.stop_requested = threading.Event()
        self.ends_at = math.inf  # when handlers that still run are interrupted
        self.deliveries: Deliveries | None = None
        self.workers: list[WorkerThread] = []
        self.schema = ""  # what there is to say of the ledger's

    def run(self) -> int:
        """Returns the exit status. Everything that needs a connection is opened here, after the fork."""
        lock_path = str(self.lock.path) if self._on_sqlite else None
        process = Process(self.process_id, self.pool.name, socket.gethostname(), os.getpid(), lock_path, 0)
        # Thousands of deliveries and claims are alive at a time, and none of them is garbage: with the default of
        # 700 allocations a fifth of the process's time went into looking for cycles among them.
        gc.set_threshold(*GC_THRESHOLDS)
        keep_from_forks(self._files)
        self._register(process)
        if self.stop_requested.is_set():
            return 0
        self._start_parts(process)
        self.page.state = board.RUNNING
        self.log.info(
            "worker process started", queues=self.queues, threads=self.threads, lane=self.lane, schema=self.schema
        )
        self._wait()
        self._stop_parts()
        self.lock.release()
        return 0

    def request_stop(self) -> None:
        """Finish what runs within the grace, hand back the rest."""
        self.ends_at = min(self.ends_at, time.monotonic() + self.pool.grace_seconds)
        self.stop_requested.set()

    def retire(self) -> None:
        """Start nothing more, but let what runs go on for as long as it may."""
        self.holding.closed = True
        self.stop_requested.set()

    def _files(self) -> list[int]:
        return [self.lock.file, *self.ledger.files, *(self.deliveries.files if self.deliveries is not None else ())]

    @property
    def _on_sqlite(self) -> bool:
        return self.ledger.dialect.name == "sqlite"

    def _register(self, process: Process) -> None:
        retrying = Retrying(
            retry=retry_if_exception_type((LedgerUnavailable, DBAPIError)),
            wait=wait_random_exponential(multiplier=0.1, max=5.0),
            stop=lambda _: self.stop_requested.is_set(),
            reraise=True,
            before_sleep=lambda state: self.log.warning("waiting for the ledger", attempt=state.attempt_number),
        )
        with contextlib.suppress(LedgerUnavailable, DBAPIError):  # raised only when we are to stop
            retrying(self._register_once, process)

    def _register_once(self, process: Process) -> None:
        with self.ledger.session() as session:
            self.schema = check_schema(session)
            processes.register(session, process)

    def _start_parts(self, process: Process) -> None:
        self.settler = Settler(
            self.holding,
            connect=self.ledger.session,
            settle=partial(settle, process_id=self.process_id),
            log=self.log,
            on_settled=self.metrics.settled,
        )
        # Apart, so that a statement of a handler that is slow or waits for a lock holds up nobody else's outcome.
        self.writing_settler = Settler(
            self.holding,
            connect=self.ledger.writing_session,
            settle=partial(settle_with_writes, process_id=self.process_id),
            log=self.log,
            on_settled=self.metrics.settled,
            name="writing settler",
            stuck_seconds=WRITING_STUCK_SECONDS,
        )
        self.sessions = HandlerSessions(self.ledger, threads=self.threads)
        self.intake = self._make_intake()
        self.pulse = Pulse(
            ledger=self.ledger,
            holding=self.holding,
            metrics=self.metrics,
            page=self.page,
            process=process,
            queues=self.queues,
            is_healthy=self._is_healthy,
            log=self.log,
        )
        if self.registry.has_async:
            loop = EventLoop(self.log)
            loop.start(timeout=5)
            os.register_at_fork(after_in_child=loop.end_fork)
            set_event_loop_thread(loop)
        executor = Executor(
            sessions=self.sessions,
            hooks=Hooks.of(self.registry.broker),
            is_cancel_requested=lambda job_id: job_id in self.holding.cancel_requested,
            log=self.log,
            keyring=self.pool.keyring,
        )
        self.settler.start()
        self.pulse.start()
        self.workers = [
            WorkerThread(
                number,
                holding=self.holding,
                intake=self.intake,
                settler=self.settler,
                writing_settler=self.writing_settler,
                executor=executor,
                metrics=self.metrics,
                page=self.page,
            )
            for number in range(self.threads)
        ]
        for worker in self.workers:
            worker.start()
        if self.deliveries is not None:
            self.deliveries.start()
        self.intake.start()

    def _make_intake(self) -> Intake:
        shared = {
            "ledger": self.ledger,
            "holding": self.holding,
            "registry": self.registry,
            "settler": self.settler,
            "metrics": self.metrics,
            "process_id": self.process_id,
            "log": self.log,
        }
        if self.lane or not self.pool.has_broker:
            return LedgerIntake(queues=self.queues, suspects=self.lane, **shared)
        declared_anew: set[str] = set()
        self.deliveries = Deliveries(
            url=self.pool.broker_url,
            bindings=self.registry.bindings(self.pool.queues),
            prefetch=max(16, 2 * self.threads),
            name=f"penstock-{self.pool.name}",
            log=self.log,
            on_declared_anew=declared_anew.update,
        )
        intake = AmqpIntake(deliveries=self.deliveries, reader=Reader(self.registry), **shared)
        intake.declared_anew = declared_anew
        return intake

    def _is_healthy(self) -> bool:
        """Alive means consuming: RabbitMQ delivers to us, or we are full; what comes is claimed, run and settled."""
        consuming = self.deliveries is None or self.deliveries.is_consuming
        runs = all(worker.is_alive() for worker in self.workers)
        return (
            consuming
            and runs
            and self.intake.is_healthy
            and self.settler.is_healthy
            and self.writing_settler.is_healthy
            and not self.stop_requested.is_set()
        )

    def _wait(self) -> None:
        while not self.stop_requested.wait(0.5):
            if self.page.retires:
                self.retire()
            elif self.lane and isinstance(self.intake, LedgerIntake):
                idle = time.monotonic() - self.intake.idle_since
                if idle > LANE_IDLE_SECONDS and not self.holding.claims and not self._has_suspects():
                    return

    def _has_suspects(self) -> bool:
        try:
            with self.ledger.session() as session:
                return has_suspects(session, self.queues)
        except (LedgerUnavailable, DBAPIError):
            return True

    def _stop_parts(self) -> None:
        self.holding.closed = True
        self.intake.stop()
        if self.deliveries is not None:
            self.deliveries.stop()
        self.page.state = board.STOPPING
        while self.holding.running and time.monotonic() < self.ends_at:
            if self._is_drained():
                self.page.state = board.DRAINED
            time.sleep(WAIT_STEP_SECONDS)
        self._interrupt_running()
        flush_until = time.monotonic() + FLUSH_SECONDS
        for settler in (self.settler, self.writing_settler):
            settler.stop(max(0.0, flush_until - time.monotonic()))
        self.pulse.stop()
        loop = get_event_loop_thread()
        if loop is not None:
            set_event_loop_thread(None)
        self.log.info("worker process stopped")

    def _is_drained(self) -> bool:
        """Whether everything that we still hold is past its deadline: then nothing is lost by killing us."""
        now = time.monotonic()
        overdue = {it.job_id for it in self.page.running().values() if it.deadline < now}
        return overdue.issuperset(list(self.holding.claims))

    def _interrupt_running(self) -> None:
        """The grace is over: what still runs is fenced and handed back; the process ends right after."""
        for running in self.page.running().values():
            claim = self.holding.claims.get(running.job_id)
            if claim is None or running.deadline == math.inf:
                continue  # it has returned, and its outcome is with a settler
            entry = self.registry.find(claim.type, claim.version)
            if entry is not None and entry.contract.guarantee == "at_most_once":
                outcome = Outcome(claim.id, claim.token, State.DEAD, Reason.OUTCOME_UNKNOWN, counts=False)
            else:
                outcome = Outcome(claim.id, claim.token, State.AVAILABLE, counts=False)
            self.settler.put(outcome)
            self.log.warning("interrupted at the end of the grace", job_id=claim.id, job_type=claim.type)


def stop_with_supervisor(lifeline: int, request_stop: Any) -> None:
    """Watch the pipe that the supervisor holds open: when it closes, the supervisor is gone and we stop."""

    def watch() -> None:
        while True:
            try:
                if not os.read(lifeline, 1):
                    break
            except InterruptedError:
                continue
        request_stop()

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
