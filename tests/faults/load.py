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
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from sqlalchemy.exc import DBAPIError
from tests.faults.jobs import Post, Transfer
from tests.servers.leash import Leashed
from tests.workers.pool import REPOSITORY

from penstock.ledger.database import LedgerUnavailable
from penstock.producers import Producer, PublishError
from penstock.producers.ledger_producer import LedgerProducer
from penstock.schemas import Job

THREADS = 4
TIMEOUT_SECONDS = 15.0
LAST_SECONDS_MAX = 90.0


@dataclass(frozen=True, slots=True)
class Order:
    """One thing to be done once, however often it is published."""

    key: str
    job: Job
    delay: timedelta | None
    times: int


def order(number: int, seed: int) -> Order:
    """Most are plain; some fail at first, come later, are published twice, or have their effect outside."""
    draw = random.Random(f"{seed} {number}")
    fails_first = draw.random() < 0.1
    delay = timedelta(seconds=draw.uniform(0.5, 3.0)) if draw.random() < 0.1 else None
    job: Job = Post(n=number, fails_first=fails_first)
    if draw.random() < 0.7:
        job = Transfer(n=number, fails_first=fails_first, work_seconds=draw.choice([0.0, 0.0, 0.005, 0.05]))
    return Order(f"order-{seed}-{number}", job, delay, times=2 if draw.random() < 0.1 else 1)


class Load:
    """The test's view of it: `with Load(...) as load:`; `finish()` lets it bring to an end what it has begun."""

    def __init__(self, *, url: str, folder: Path, seed: int, per_second: float) -> None:
        """`url` is RabbitMQ's or the ledger's."""
        self.history = folder / f"history-{seed}.log"
        self.history.touch()
        self._folder = folder
        self._arguments = [url, str(self.history), str(seed), str(per_second)]
        self._process: Leashed | None = None

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What it has written down so far."""
        return [json.loads(line) for line in self.history.read_text().splitlines()]

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


def publish(producer: Producer | LedgerProducer, history: History, order: Order) -> None:
    """Until there is a receipt."""
    for _ in range(order.times):
        is_confirmed = False
        while not is_confirmed:
            history.note("invoked", order.key, type=order.job.contract().type)
            try:
                receipt = producer.publish(order.job, key=order.key, delay=order.delay)
            except (PublishError, LedgerUnavailable, DBAPIError) as error:
                is_unknown = not isinstance(error, PublishError) or error.outcome_unknown
                history.note("unknown" if is_unknown else "failed", order.key, error=type(error).__name__)
                threading.Event().wait(0.1)
            else:
                is_confirmed = True
                history.note("confirmed", order.key, job_id=receipt.job_id)


def producer_on(url: str) -> Producer | LedgerProducer:
    """The way in that an address stands for."""
    if url.startswith("amqp"):
        return Producer(url, app_id="load", timeout_seconds=TIMEOUT_SECONDS)
    return LedgerProducer(url, app_id="load")


def main(url: str, path: Path, *, seed: int, per_second: float) -> None:
    """Publish until SIGTERM."""
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    numbers = itertools.count()
    taking = threading.Lock()
    history = History(path)

    def work(producer: Producer | LedgerProducer) -> None:
        while not over.wait(THREADS / per_second):
            with taking:
                number = next(numbers)
            publish(producer, history, order(number, seed))

    with producer_on(url) as producer:
        threads = [threading.Thread(target=work, args=[producer]) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    url, path, seed, per_second = sys.argv[1:]
    main(url, Path(path), seed=int(seed), per_second=float(per_second))
