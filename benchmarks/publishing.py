"""How fast jobs are published, each confirmed by RabbitMQ: one at a time, by 8 threads that share one `Producer`, and
with `publish_many`, beside plain Dramatiq with confirms, one at a time.

Penstock publishes to a quorum queue, Dramatiq to the durable classic queue that it declares by itself. What RabbitMQ
allows is beside it: pika's `SelectConnection` and nothing else, with one, 8 and 1,000 confirms outstanding.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import dramatiq
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
    from collections.abc import Callable

    from benchmarks.servers import Servers

ONE_BY_ONE = 800
SHARED = 4_000
MANY = 20_000
PADDING = Load("noop", 1).padding

LINES = (
    Ratio("confirmed publish, one at a time", "one by one", "dramatiq, confirmed", at_least=1),
    Ratio("confirmed publish, 8 threads, one Producer", "shared", "dramatiq, confirmed", at_least=4),
    Ratio("publish_many, each confirmed", "many", "dramatiq, confirmed", at_least=15),
    Ratio("limit: pika alone, one confirm outstanding", "pika, 1", "dramatiq, confirmed"),
    Ratio("limit: pika alone, 8 confirms outstanding", "pika, 8", "dramatiq, confirmed"),
    Ratio("limit: pika alone, 1,000 confirms outstanding", "pika, 1000", "dramatiq, confirmed"),
)


def measure(servers: Servers, scale: float) -> Sample:
    """One round. The first few publishes, which connect and declare, are not counted."""
    one_by_one, shared, many = (round(number * scale) for number in (ONE_BY_ONE, SHARED, MANY))
    return {
        "dramatiq, confirmed": by_dramatiq(servers.broker(), one_by_one),
        **by_penstock(servers.broker(), one_by_one, shared, many),
    }


def by_dramatiq(url: str, jobs: int) -> float:
    """Publishes per second."""
    broker = RabbitmqBroker(url=url, confirm_delivery=True)

    @dramatiq.actor(broker=broker, queue_name=QUEUE)
    def noop(n: int, padding: str) -> None:
        raise NotImplementedError

    noop.send(0, PADDING)
    try:
        return jobs / seconds(lambda: [noop.send(n, PADDING) for n in range(jobs)])
    finally:
        broker.close()


def by_penstock(url: str, one_by_one: int, shared: int, many: int) -> Sample:
    """Publishes per second in each of the three ways."""
    declare(url, {QUEUE: {"benchmark.noop"}}, name="benchmark")
    with Producer(url) as producer, ThreadPoolExecutor(THREADS) as threads:

        def publish(numbers: range) -> None:
            for n in numbers:
                producer.publish(Noop(n=n, padding=PADDING))

        publish(range(1))
        message = Message.of(Noop(n=1, padding=PADDING))
        parts = [range(number, shared, THREADS) for number in range(THREADS)]
        return {
            "one by one": one_by_one / seconds(lambda: publish(range(one_by_one))),
            "shared": shared / seconds(lambda: list(threads.map(publish, parts))),
            "many": many / seconds(lambda: producer.publish_many(Noop(n=n, padding=PADDING) for n in range(many))),
            **{
                f"pika, {outstanding}": publish_windowed(url, message, outstanding=outstanding, publishes=publishes)
                for outstanding, publishes in ((1, one_by_one), (THREADS, shared), (1_000, many))
            },
        }


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


MEASUREMENT = Measurement(__doc__, measure, LINES)

if __name__ == "__main__":
    main(MEASUREMENT)
