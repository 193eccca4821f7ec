"""What one no-op job costs in the two loops that could run it, Dramatiq's worker threads and ours, and what a whole
worker makes of it.

First the loops alone, without broker and ledger: both get messages that have been read from the wire already, and both
count what they hand on. Ours has decoded the payload, checked it against its contract, noted the job on the board and
measured it by then; Dramatiq decodes before its loop, in the consumer. Then the drain of `benchmarks.drain`, by a
worker with our threads, and by one with Dramatiq's in their place and nothing else changed.
"""

from __future__ import annotations

import math
import os
import tempfile
import threading
import time
from pathlib import Path
from queue import PriorityQueue
from typing import TYPE_CHECKING, Any

import dramatiq
import structlog
from benchmarks.contenders import QUEUE, THREADS, Penstock
from benchmarks.drain import PENSTOCK_JOBS, drain
from benchmarks.load import Load
from benchmarks.rounds import Line, Measurement, Ratio, Sample, main
from dramatiq.brokers.stub import StubBroker
from dramatiq.worker import WorkerThread as DramatiqThread
from dramatiq.worker import _WorkQueueItem

from penstock.ledger.admission import Claim
from penstock.schemas.identifiers import new_job_id
from penstock.workers.board import Board
from penstock.workers.execution import Executor
from penstock.workers.holding import Holding
from penstock.workers.registry import Registry
from penstock.workers.threads import WorkerThread

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.servers import Servers

JOBS = 40_000
OURS = "our loop, µs of CPU per job"
THEIRS = "Dramatiq's loop, µs of CPU per job"
THEIRS_WITH_DEFAULTS = "Dramatiq's loop with its default middleware, µs of CPU per job"
OUR_DRAIN = "drain, jobs per second: our loop"
THEIR_DRAIN = "drain, jobs per second: Dramatiq's loop"
THEIR_DRAIN_WITH_DEFAULTS = "drain, jobs per second: Dramatiq's loop with its default middleware"
LINES: tuple[Line, ...] = (
    Ratio("loop of the worker threads, µs of CPU per no-op job", OURS, THEIRS),
    Ratio("the same, theirs with its default middleware", OURS, THEIRS_WITH_DEFAULTS),
    Ratio("drain by a whole worker, jobs per second", OUR_DRAIN, THEIR_DRAIN),
    Ratio("the same, theirs with its default middleware", OUR_DRAIN, THEIR_DRAIN_WITH_DEFAULTS),
)


class Counting:
    """Stands in for what comes after a loop: Dramatiq's consumer, our settler."""

    def __init__(self, jobs: int) -> None:
        self._left = jobs
        self._lock = threading.Lock()
        self.done = threading.Event()

    def post_process_message(self, _: object) -> None:
        self.count()

    def put(self, _: object) -> None:
        self.count()

    def count(self) -> None:
        with self._lock:
            self._left -= 1
            if not self._left:
                self.done.set()


class InDramatiqsLoop(Penstock):
    """Our worker with Dramatiq's threads."""

    def __init__(self, *, middleware: str) -> None:
        self._middleware = middleware

    def command(self, *, processes: int) -> list[str]:
        _, _, *words = super().command(processes=processes)
        return ["-m", "benchmarks.dramatiq_loop", self._middleware, *words]


def measure(servers: Servers, scale: float) -> Sample:
    """One round."""
    load = Load("noop", round(JOBS * scale))
    whole = Load("noop", round(PENSTOCK_JOBS * scale))
    return {
        THEIRS: by_dramatiq(load, StubBroker(middleware=[])),
        THEIRS_WITH_DEFAULTS: by_dramatiq(load, StubBroker()),
        OURS: by_penstock(load),
        THEIR_DRAIN: drain(servers, InDramatiqsLoop(middleware="none"), whole).rate,
        THEIR_DRAIN_WITH_DEFAULTS: drain(servers, InDramatiqsLoop(middleware="default"), whole).rate,
        OUR_DRAIN: drain(servers, Penstock(), whole).rate,
    }


def by_dramatiq(load: Load, broker: StubBroker) -> float:
    """Microseconds of CPU per job."""
    actor: dramatiq.Actor[Any, Any] = dramatiq.Actor(
        lambda n, padding: None, broker=broker, actor_name="noop", queue_name=QUEUE, priority=0, options={}
    )
    messages = [actor.message(n, load.padding) for n in range(load.jobs)]
    ready: PriorityQueue[Any] = PriorityQueue()
    after = Counting(load.jobs)
    for _ in range(THREADS):
        consumers: dict[str, Any] = {QUEUE: after}
        DramatiqThread(broker=broker, consumers=consumers, work_queue=ready, worker_timeout=1000).start()

    def feed() -> None:
        for message in messages:
            ready.put(_WorkQueueItem(0, dramatiq.broker.MessageProxy(message)))

    return _cpu_microseconds(feed, after, load.jobs)


def by_penstock(load: Load) -> float:
    """Microseconds of CPU per job."""
    os.environ.setdefault("BENCHMARK_CLOCK", tempfile.mkdtemp())
    registry = Registry.load(["benchmarks.penstock_jobs"])
    entry = registry.find("benchmark.noop", 1)
    assert entry is not None
    bodies = [f'{{"n":{n},"padding":"{load.padding}"}}'.encode() for n in range(load.jobs)]
    claims = [Claim(new_job_id(), "benchmark.noop", 1, QUEUE, body, token=1) for body in bodies]
    holding, after = Holding(threads=THREADS), Counting(load.jobs)
    holding.fresh_until = math.inf
    metrics, intake = _Samples(), _Room()
    board = Board.create(Path(tempfile.mkdtemp()) / "loops.board", pages=1, threads=THREADS)
    executor = Executor(sessions=None, hooks=None, is_cancel_requested=lambda _: False, log=structlog.get_logger())  # type: ignore[arg-type]
    for number in range(THREADS):
        parts: dict[str, Any] = {"settler": after, "writing_settler": after, "metrics": metrics, "intake": intake}
        WorkerThread(number, holding=holding, executor=executor, page=board.page(0), **parts).start()

    def feed() -> None:
        for claim in claims:
            holding.ready.put((claim, entry, 0.0))

    return _cpu_microseconds(feed, after, load.jobs)


class _Samples:
    """Our thread leaves its measurements here; the second batch of the metrics takes them up."""

    def __init__(self) -> None:
        self.samples: list[Any] = []


class _Room:
    """An intake that nobody has to wake."""

    def __init__(self) -> None:
        self.room = threading.Event()


def _cpu_microseconds(feed: Callable[[], None], after: Counting, jobs: int) -> float:
    before = time.process_time()
    feed()
    after.done.wait()
    return 1e6 * (time.process_time() - before) / jobs


MEASUREMENT = Measurement(__doc__, measure, LINES)

if __name__ == "__main__":
    main(MEASUREMENT)
