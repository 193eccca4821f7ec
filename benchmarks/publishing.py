"""How fast jobs are published, each confirmed by RabbitMQ: one at a time, by 8 threads that share one `Producer`, and
with `publish_many`, beside plain Dramatiq with confirms, one at a time.

Penstock publishes to a quorum queue, Dramatiq to the durable classic queue that it declares by itself. What RabbitMQ
allows is beside it: pika's `SelectConnection` and nothing else, with one, 8 and 1,000 confirms outstanding; what
Python's threads allow: 8 of them that send frames made beforehand, and one that reads the confirms and wakes them.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import dramatiq
from benchmarks.bare_threads import bare_threads
from benchmarks.contenders import QUEUE, THREADS
from benchmarks.load import Load
from benchmarks.penstock_jobs import Noop
from benchmarks.rounds import Measurement, Ratio, Sample, main
from benchmarks.windowed import publish_windowed
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from penstock.producers import Producer
from penstock.schemas import Message
from penstock.workers.topology import declare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.servers import Servers

ONE_BY_ONE = 800
SHARED = 16_000
MANY = 20_000
# One second of a machine may be slower than the next: who is slow publishes in turns with the others. Who has a
# thousand under way would spend his turns beginning and ending.
TURNS = 8
IN_TURNS = {
    "dramatiq, confirmed": ONE_BY_ONE,
    "one by one": ONE_BY_ONE,
    "shared": SHARED,
    "pika, 1": ONE_BY_ONE,
    "pika, 8": SHARED,
    "bare threads": SHARED,
}
AT_ONCE = {"many": MANY, "pika, 1000": MANY}
PADDING = Load("noop", 1).padding

LINES = (
    Ratio("confirmed publish, one at a time", "one by one", "dramatiq, confirmed", at_least=1),
    Ratio("confirmed publish, 8 threads, one Producer", "shared", "dramatiq, confirmed", at_least=4),
    Ratio("publish_many, each confirmed", "many", "dramatiq, confirmed", at_least=15),
    Ratio("limit: pika alone, one confirm outstanding", "pika, 1", "dramatiq, confirmed"),
    Ratio("limit: pika alone, 8 confirms outstanding", "pika, 8", "dramatiq, confirmed"),
    Ratio("limit: 8 threads that send, one that reads, nothing else", "bare threads", "dramatiq, confirmed"),
    Ratio("limit: pika alone, 1,000 confirms outstanding", "pika, 1000", "dramatiq, confirmed"),
)


def measure(servers: Servers, scale: float) -> Sample:
    """One round."""
    parts = {name: round(jobs * scale / TURNS) for name, jobs in IN_TURNS.items()}
    whole = {name: round(jobs * scale) for name, jobs in AT_ONCE.items()}
    spent = dict.fromkeys(parts, 0.0)
    with everybody(servers) as publishers:
        for _ in range(TURNS):
            for name, jobs in parts.items():
                spent[name] += publishers[name](jobs)
        in_turns = {name: TURNS * parts[name] / spent[name] for name in parts}
        return in_turns | {name: jobs / publishers[name](jobs) for name, jobs in whole.items()}


@contextmanager
def everybody(servers: Servers) -> Iterator[dict[str, Callable[[int], float]]]:
    """Who publishes so many jobs and says how many seconds that took, each connected already."""
    url = servers.broker()
    declare(url, {QUEUE: {"benchmark.noop"}}, name="benchmark")
    message = Message.of(Noop(n=1, padding=PADDING))

    def by_pika(outstanding: int, jobs: int) -> float:
        return jobs / publish_windowed(url, message, outstanding=outstanding, publishes=jobs)

    with (
        dramatiq_of(servers.broker()) as noop,
        Producer(url) as producer,
        ThreadPoolExecutor(THREADS) as threads,
        bare_threads(url, message, threads=THREADS) as by_bare_threads,
    ):

        def one_by_one(jobs: int) -> None:
            for n in range(jobs):
                producer.publish(Noop(n=n, padding=PADDING))

        def by_all_threads(jobs: int) -> None:
            left = iter(range(jobs))  # they end together: whoever is alone at last does not share anything

            def publish_what_is_left(_: int) -> None:
                for n in left:
                    producer.publish(Noop(n=n, padding=PADDING))

            list(threads.map(publish_what_is_left, range(THREADS)))

        one_by_one(1)
        yield {
            "dramatiq, confirmed": lambda jobs: seconds(lambda: [noop.send(n, PADDING) for n in range(jobs)]),
            "one by one": lambda jobs: seconds(lambda: one_by_one(jobs)),
            "shared": lambda jobs: seconds(lambda: by_all_threads(jobs)),
            "many": lambda jobs: seconds(
                lambda: producer.publish_many(Noop(n=n, padding=PADDING) for n in range(jobs))
            ),
            "pika, 1": partial(by_pika, 1),
            "pika, 8": partial(by_pika, 8),
            "bare threads": lambda jobs: seconds(lambda: by_bare_threads(jobs)),
            "pika, 1000": partial(by_pika, 1_000),
        }


def by_dramatiq(url: str, jobs: int) -> float:
    """Confirmed publishes per second, one at a time."""
    with dramatiq_of(url) as noop:
        return jobs / seconds(lambda: [noop.send(n, PADDING) for n in range(jobs)])


@contextmanager
def dramatiq_of(url: str) -> Iterator[dramatiq.Actor[..., None]]:
    """An actor whose messages are confirmed, connected."""
    broker = RabbitmqBroker(url=url, confirm_delivery=True)

    @dramatiq.actor(broker=broker, queue_name=QUEUE)
    def noop(n: int, padding: str) -> None:
        raise NotImplementedError

    noop.send(0, PADDING)
    try:
        yield noop
    finally:
        broker.close()


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


MEASUREMENT = Measurement(__doc__, measure, LINES)

if __name__ == "__main__":
    main(MEASUREMENT)
