"""The supervisor: forks the processes of a pool, watches them, and says truly what became of each.

One thread and no open connection, so that forking is safe and a replacement starts in milliseconds, with the
jobs' modules imported already. Whatever needs a connection or a thread runs in a child.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import time
import traceback
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from penstock.ledger.database import Ledger, LedgerUnavailable
from penstock.ledger.failpoints import Failpoint, reach, warn_if_armed
from penstock.producers.stop_signals import stop_on_signals
from penstock.workers import board
from penstock.workers.board import Board, Page
from penstock.workers.caretaker import Caretaker
from penstock.workers.census import KINDS
from penstock.workers.deaths import DeadProcess, clear_abandoned, record_death, record_timeout
from penstock.workers.liveness import FileLock, take_slot
from penstock.workers.metric_files import MetricFiles, start_afresh
from penstock.workers.metrics import Metrics
from penstock.workers.monitor import Monitor
from penstock.workers.process import WorkerProcess, stop_with_supervisor

if TYPE_CHECKING:
    from penstock.workers.pool import Pool
    from penstock.workers.registry import Registry

TICK_SECONDS = 0.05
LEDGER_RETRY_SECONDS = 0.5
ABANDONED_SECONDS = 1.0  # how often boards are looked for whose supervisor has been killed
STOP_EXTRA_SECONDS = 20.0
# A retiring process says when it is drained, which may take an outage. One that does not even begin to stop holds
# the interpreter's lock somewhere in C: nothing in it will ever finish.
FROZEN_SECONDS = 10.0
DRAIN_SECONDS_MAX = 60.0
# A child that dies within this time of its start is not started again at once.
EARLY_DEATH_SECONDS = 2.0
RESTART_WAIT_SECONDS_MAX = 10.0
SIGNALS = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}


@dataclass(slots=True)
class Child:
    """A process of ours. `timed_out` are the jobs for whose deadlines it is being retired."""

    page: Page
    process_id: str
    kind: int
    slot: str
    started_at: float
    retired_at: float | None = None
    timed_out: set[tuple[str, int]] = field(default_factory=set)  # (job id, token)
    killed: bool = False


class Supervisor:
    """Runs a pool until SIGTERM or Ctrl-C; a second signal ends it at once."""

    def __init__(self, pool: Pool, registry: Registry, *, log: Any) -> None:
        self.pool = pool
        self.registry = registry
        self.log = log.bind(pool=pool.name)
        self._ledger = Ledger(pool.database_url, announces=not pool.has_broker)
        self._children: dict[int, Child] = {}
        self._dead: list[DeadProcess] = []
        self._ledger_retry_at = 0.0
        self._looked_at = -ABANDONED_SECONDS
        self._restart_at = dict.fromkeys(KINDS, 0.0)
        self._early_deaths = dict.fromkeys(KINDS, 0)
        self._stopping_since: float | None = None
        self._lane_wanted = True  # the first look tells whether suspects wait from before

    def run(self) -> int:
        """Returns the exit status."""
        self.registry.bindings(self.pool.queues)  # an unknown queue is refused before anything starts
        self.registry.require_keyring(self.pool.keyring)
        pool = self.pool
        pool.boards_dir.mkdir(parents=True, exist_ok=True)
        path = pool.boards_dir / f"{uuid.uuid4()}.board"
        # Room for replacements beside those that are being retired, the lane, the dispatcher and the monitor.
        self._board = Board.create(path, pages=2 * pool.processes + 4, threads=pool.threads)
        self._lifeline, self._lifeline_end = os.pipe()
        # What is loaded by now lives for ever: keep the collector of the children from walking (and copying) it.
        gc.collect()
        gc.freeze()
        # A pool of the same name may run beside this one, at a rolling restart; what a killed one left still writes.
        slot, _lock = take_slot(pool.state_dir, f"pool-{pool.name}")
        self._metrics_dir = pool.state_dir / "metrics" / slot
        start_afresh(self._metrics_dir)
        self._metrics = Metrics(MetricFiles(self._metrics_dir, "supervisor"))
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        self.log.info("pool started", processes=pool.processes, threads=pool.threads, pid=os.getpid())
        warn_if_armed(self.log)
        while self._stopping_since is None or self._children:
            self._tick()
        self._record_deaths()
        path.unlink(missing_ok=True)
        self.log.info("pool stopped", unrecorded=len(self._dead))
        return 0 if not self._dead else 1

    def _tick(self) -> None:
        self._reap()
        self._record_deaths()
        self._kill_retired()
        self._clear_abandoned()
        if self._stopping_since is None:
            self._check_deadlines()
            self._start_missing()
        else:
            self._kill_stragglers(self._stopping_since)
        received = signal.sigtimedwait(SIGNALS, TICK_SECONDS)
        # Not simply "none but SIGCHLD": after a SIGSTOP and SIGCONT Python returns what happens to be in memory.
        if received is not None and received.si_signo in (signal.SIGTERM, signal.SIGINT):
            self._stop()

    def _start_missing(self) -> None:
        for kind, wanted in self._wanted().items():
            alive = sum(child.kind == kind and child.retired_at is None for child in self._children.values())
            if alive < wanted and time.monotonic() >= self._restart_at[kind]:
                for _ in range(wanted - alive):
                    self._fork(kind, self._free_slot(kind))

    def _wanted(self) -> dict[int, int]:
        """How many processes of each kind there should be now."""
        wants_lane = self._lane_wanted or any(page.wants_lane for page in self._board)
        return {
            board.MONITOR: int(self.pool.metrics_port is not None),
            board.DISPATCHER: int(self.pool.with_dispatcher),
            board.LANE: int(wants_lane),
            board.WORKER: self.pool.processes,
        }

    def _free_slot(self, kind: int) -> str:
        """A name for metric files: no two living processes share one, and a replacement goes on with its own."""
        taken = {child.slot for child in self._children.values()}
        return next(name for number in range(1000) if (name := f"{KINDS[kind]}-{number}") not in taken)

    def _fork(self, kind: int, slot: str) -> None:
        page = next((page for page in self._board if page.process_id is None), None)
        if page is None:
            return  # all pages are taken by processes that are being retired; their deadlines free them
        process_id = str(uuid.uuid4())
        try:
            lock = FileLock(self.pool.lock_path(process_id))
        except OSError as error:
            self.log.warning("no process can be started", error=error.strerror, path=error.filename)
            self._slow_down(kind)
            return
        self._lane_wanted = self._lane_wanted and kind != board.LANE
        page.occupy(process_id, pid=0, kind=kind)
        _flush_output()  # or the child would write what we have not written yet once more
        pid = os.fork()
        if pid == 0:
            os._exit(self._be_child(kind, page, process_id, slot, lock))
        lock.hand_over()
        page.pid = pid
        self._children[pid] = Child(page, process_id, kind, slot, time.monotonic())

    def _be_child(self, kind: int, page: Page, process_id: str, slot: str, lock: FileLock) -> int:
        """In the child; returns its exit status."""
        try:
            os.close(self._lifeline_end)
            self._board.release_lock()
            part = self._make_part(kind, page, process_id, slot, lock)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; we act on it
            stop_on_signals(part.request_stop, signal.SIGTERM, again_ends=False)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            stop_with_supervisor(self._lifeline, part.request_stop)
            return part.run()
        except BaseException:
            traceback.print_exc()
            return 1
        finally:
            _flush_output()

    def _make_part(
        self, kind: int, page: Page, process_id: str, slot: str, lock: FileLock
    ) -> WorkerProcess | Caretaker | Monitor:
        pool = self.pool
        if kind == board.MONITOR:
            return Monitor(self._board, pool, metrics_dir=self._metrics_dir, page=page, log=self.log)
        if kind == board.DISPATCHER:
            return Caretaker(
                database_url=pool.database_url,
                broker_url=pool.broker_url,
                metrics_dir=self._metrics_dir,
                slot=slot,
                page=page,
                keyring=pool.keyring,
                log=self.log,
            )
        return WorkerProcess(
            pool,
            self.registry,
            page=page,
            lock=lock,
            process_id=process_id,
            metrics_dir=self._metrics_dir,
            slot=slot,
            lane=kind == board.LANE,
            log=self.log,
        )

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            child = self._children.pop(pid, None)
            if child is not None:
                self._note_death(child, status)

    def _note_death(self, child: Child, status: int) -> None:
        running = tuple(it.job_id for it in child.page.running().values())
        was_healthy = child.page.is_healthy
        was_asked = self._stopping_since is not None or child.killed
        clean = was_asked or (os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0 and not running)
        dead = DeadProcess(child.process_id, child.kind, status, running, intended=clean)
        child.page.vacate()
        self.pool.lock_path(child.process_id).unlink(missing_ok=True)
        if child.kind in (board.WORKER, board.LANE):
            self._dead.append(dead)
        if not clean:
            self._metrics.died(self.pool.name, KINDS[child.kind], dead.how)
            self.log.error("process died", process_id=child.process_id, slot=child.slot, how=dead.how, ran=running)
            if running or was_healthy or time.monotonic() - child.started_at > EARLY_DEATH_SECONDS:
                self._early_deaths[child.kind] = 0
            else:
                self._slow_down(child.kind)

    def _slow_down(self, kind: int) -> None:
        """A child that cannot even start must not be forked twenty times a second, nor hold up the other kinds."""
        self._early_deaths[kind] += 1
        wait = min(RESTART_WAIT_SECONDS_MAX, 0.1 * 2 ** min(self._early_deaths[kind], 10))
        self._restart_at[kind] = time.monotonic() + wait

    def _record_deaths(self) -> None:
        while self._dead and time.monotonic() >= self._ledger_retry_at:
            dead = self._dead[0]
            try:
                reach(Failpoint.DEATH_SEEN)
                freed = record_death(self._ledger, dead)
                reach(Failpoint.DEATH_RECORDED)
            except (LedgerUnavailable, DBAPIError) as error:
                self.log.warning("a death is recorded when the ledger answers", error=type(error).__name__)
                self._ledger_retry_at = time.monotonic() + LEDGER_RETRY_SECONDS
                return
            self._dead.pop(0)
            self._metrics.rescued(freed)
            suspects = sum(job.suspect and job.state == "available" for job in freed)
            self._lane_wanted = self._lane_wanted or suspects > 0
            if freed:
                self.log.warning(
                    "jobs freed",
                    process_id=dead.process_id,
                    how=dead.how,
                    jobs=len(freed),
                    suspects=suspects,
                    dead=[job.job_id for job in freed if job.state == "dead"],
                )

    def _check_deadlines(self) -> None:
        now = time.monotonic()
        for child in self._children.values():
            if child.kind not in (board.WORKER, board.LANE):
                continue
            for running in child.page.running().values():
                if running.deadline < now and (running.job_id, running.token) not in child.timed_out:
                    self._time_out(child, running)

    def _time_out(self, child: Child, running: board.Running) -> None:
        if time.monotonic() < self._ledger_retry_at:
            return
        try:
            settled = record_timeout(self._ledger, self.registry, running, process_id=child.process_id)
        except (LedgerUnavailable, DBAPIError):
            self._ledger_retry_at = time.monotonic() + LEDGER_RETRY_SECONDS
            return
        child.timed_out.add((running.job_id, running.token))
        if settled is not None:
            self._metrics.settled([settled], set())
        # Its thread is lost as long as it does not return, also when a rescuer has freed the job before us.
        is_stuck = any((it.job_id, it.token) == (running.job_id, running.token) for it in child.page.running().values())
        if settled is not None or is_stuck:
            self.log.warning("job timed out; its process is replaced", job_id=running.job_id, slot=child.slot)
            child.page.retire()
            if child.retired_at is None:
                child.retired_at = time.monotonic()

    def _kill_retired(self) -> None:
        """A retired process is killed once only timed-out jobs are left in it: their threads cannot be stopped."""
        for pid, child in self._children.items():
            if child.retired_at is None or child.killed:
                continue
            waited = time.monotonic() - child.retired_at
            left = {(it.job_id, it.token) for it in child.page.running().values()} - child.timed_out
            is_frozen = child.page.state == board.RUNNING and waited > FROZEN_SECONDS
            is_drained = not left and (child.page.state == board.DRAINED or waited > DRAIN_SECONDS_MAX)
            if is_frozen or is_drained:
                self.log.warning("killing a retired process", process_id=child.process_id, handed_back=len(left))
                child.killed = True
                os.kill(pid, signal.SIGKILL)

    def _kill_stragglers(self, since: float) -> None:
        if time.monotonic() - since > self.pool.grace_seconds + STOP_EXTRA_SECONDS:
            for pid, child in self._children.items():
                if not child.killed:
                    self.log.warning("killing a process that has not stopped", process_id=child.process_id)
                    child.killed = True
                    os.kill(pid, signal.SIGKILL)

    def _stop(self) -> None:
        again = self._stopping_since is not None
        if again:
            self.log.warning("stopping at once")
        else:
            self.log.info("stopping", grace_seconds=self.pool.grace_seconds)
            self._stopping_since = time.monotonic()
        for pid, child in self._children.items():
            child.killed = child.killed or again
            os.kill(pid, signal.SIGKILL if again else signal.SIGTERM)

    def _clear_abandoned(self) -> None:
        now = time.monotonic()
        if now - self._looked_at < ABANDONED_SECONDS or now < self._ledger_retry_at:
            return
        self._looked_at = now
        try:
            found = clear_abandoned(self._ledger, self.pool)
        except (LedgerUnavailable, DBAPIError) as error:
            self.log.warning("abandoned boards are read when the ledger answers", error=type(error).__name__)
            self._ledger_retry_at = time.monotonic() + LEDGER_RETRY_SECONDS
            return
        for process_id, freed in found.items():
            self._metrics.rescued(freed)
            self.log.warning("a process of a killed supervisor has ended", process_id=process_id, jobs_freed=len(freed))


def _flush_output() -> None:
    """What handlers have printed; a child ends by `os._exit`, which does not."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
