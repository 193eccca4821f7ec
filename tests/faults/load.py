"""The load: a process of its own that publishes jobs and writes down what it was told, synced before it goes on.

Its history has a line `invoked` before each publish, and after it `confirmed`, `failed` or `unknown`. What was not
confirmed is published again under the same key, as a service would. SIGTERM ends it: what it has begun, it brings to
a receipt.
"""

import itertools
import json
import os
import random
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from tests.faults.jobs import Post, Transfer
from tests.faults.ways import FAULTS, OPENING, Way
from tests.growing_log import written_lines
from tests.servers.leash import Leashed
from tests.workers.pool import REPOSITORY

from penstock.producers import PublishError
from penstock.producers.stop_signals import stop_on_signals
from penstock.schemas import Job

THREADS = 4
LAST_SECONDS_MAX = 90.0


@dataclass(frozen=True, slots=True)
class Order:
    """One thing to be done once, however often it is published. `lot` decides which way it takes."""

    key: str
    job: Job
    delay: timedelta | None
    times: int
    lot: float


def order(number: int, seed: int) -> Order:
    """Most are plain; some fail at first, come later, are published twice, or have their effect outside. Of those with
    an effect inside, half leave it to `ctx.write()`."""
    draw = random.Random(f"{seed} {number}")
    fails_first = draw.random() < 0.1
    delay = timedelta(seconds=draw.uniform(0.5, 3.0)) if draw.random() < 0.1 else None
    job: Job = Post(n=number, fails_first=fails_first)
    if draw.random() < 0.7:
        job = Transfer(n=number, fails_first=fails_first, work_seconds=draw.choice([0.0, 0.0, 0.005, 0.05]))
    times = 2 if draw.random() < 0.1 else 1
    lot = draw.random()
    if isinstance(job, Transfer) and draw.random() < 0.5:
        job = job.model_copy(update={"by_write": True})
    return Order(f"order-{seed}-{number}", job, delay, times=times, lot=lot)


class Load:
    """The test's view of it: `with Load(...) as load:`; `finish()` lets it bring to an end what it has begun."""

    def __init__(self, *, ways: Mapping[str, str], folder: Path, seed: int, per_second: float) -> None:
        """`ways` are some of `ways.OPENING`, each with its address; orders are spread over them."""
        self.history = folder / f"history-{seed}.log"
        self.history.touch()
        self._folder = folder
        self._arguments = [json.dumps(dict(ways)), str(self.history), str(seed), str(per_second)]
        self._process: Leashed | None = None

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What it has written down so far."""
        return written_lines(self.history)

    @property
    def is_running(self) -> bool:
        """Whether it has more to do."""
        return self._process is not None and self._process.is_running()

    def finish(self) -> None:
        """Begin nothing more, and end once all that was begun has a receipt."""
        assert self._process is not None
        self._process.stop(signal.SIGTERM, timeout_seconds=LAST_SECONDS_MAX)

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.faults.load", *self._arguments]
        self._process = Leashed(command, folder=REPOSITORY, log=self._folder / "load.out")
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process is not None
        self._process.stop(signal.SIGKILL)


class History:
    """An append-only file."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._writing = threading.Lock()

    def note(self, event: str, key: str, **fields: Any) -> None:
        """One line, durable when this returns."""
        with self._writing:
            os.write(self._file, (json.dumps({"event": event, "key": key, **fields}) + "\n").encode())
        os.fdatasync(self._file)


def publish(name: str, way: Way, history: History, order: Order) -> None:
    """Until there is a receipt."""
    for _ in range(order.times):
        is_confirmed = False
        while not is_confirmed:
            history.note("invoked", order.key, type=order.job.contract().type)
            try:
                job_id = way.publish(order.job, key=order.key, delay=order.delay)
            except FAULTS as error:
                is_unknown = not isinstance(error, PublishError) or error.outcome_unknown
                history.note("unknown" if is_unknown else "failed", order.key, error=type(error).__name__)
                threading.Event().wait(0.1)
            else:
                is_confirmed = True
                history.note("confirmed", order.key, job_id=job_id, way=name)


def main(urls: Mapping[str, str], path: Path, *, seed: int, per_second: float) -> None:
    """Publish until SIGTERM."""
    over = threading.Event()
    stop_on_signals(over.set, signal.SIGTERM, again_ends=False)
    numbers = itertools.count()
    taking = threading.Lock()
    history = History(path)

    def work() -> None:
        while not over.wait(THREADS / per_second):
            with taking:
                number = next(numbers)
            it = order(number, seed)
            name, way = ways[int(it.lot * len(ways))]
            publish(name, way, history, it)

    ways = [(name, OPENING[name](url)) for name, url in sorted(urls.items())]
    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _, way in ways:
        way.close()


if __name__ == "__main__":
    urls, path, seed, per_second = sys.argv[1:]
    main(json.loads(urls), Path(path), seed=int(seed), per_second=float(per_second))
