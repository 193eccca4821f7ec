"""How long it takes from a publish to the start of its handler, at 50 jobs a second on an idle worker."""

from __future__ import annotations

import statistics
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dramatiq
from benchmarks.clock import read_waits
from benchmarks.contenders import QUEUE, Dramatiq, Penstock
from benchmarks.load import Load
from benchmarks.penstock_jobs import Timed
from benchmarks.rounds import Figure, Line, Measurement, Ratio, Sample, main
from benchmarks.site import fresh_site, running, wait_for
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from penstock.producers import Producer
from penstock.workers.topology import declare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from benchmarks.contenders import Contender
    from benchmarks.servers import Servers
    from benchmarks.site import Site

    Publishing = Callable[[Site], AbstractContextManager[Callable[[], object]]]

PER_SECOND = 50
SECONDS = 5
WARM_UP_JOBS = 25
PADDING = Load("timed", 1).padding

LINES: tuple[Line, ...] = (
    Ratio("start latency at 50 jobs/s, p50 in ms", "penstock p50", "dramatiq p50"),
    Ratio("start latency at 50 jobs/s, p99 in ms", "penstock p99", "dramatiq p99"),
    Figure("start latency at 50 jobs/s, p50 in ms: Penstock", "penstock p50", at_most=4),
    Figure("start latency at 50 jobs/s, p99 in ms: Penstock", "penstock p99", at_most=10),
)


def measure(servers: Servers, scale: float) -> Sample:
    """One round."""
    jobs = round(PER_SECOND * SECONDS * scale)
    return {
        **start_latency(servers, Dramatiq(), by_dramatiq, jobs),
        **start_latency(servers, Penstock(), by_penstock, jobs),
    }


def start_latency(servers: Servers, contender: Contender, publishing: Publishing, jobs: int) -> Sample:
    """The median and the 99th percentile, in milliseconds, of a worker that has run some jobs already."""
    with fresh_site(servers) as site, publishing(site) as publish, running(site, contender.command(processes=1)) as it:
        publish()
        wait_for(site, site.progress, it)
        for _ in paced(WARM_UP_JOBS + jobs - 1, per_second=PER_SECOND):
            publish()
        wait_for(site, lambda: True if (now := site.progress()) and now.jobs >= WARM_UP_JOBS + jobs else None, it)
        waits = [1000 * seconds for seconds in read_waits(site.folder)[WARM_UP_JOBS:]]
    return {
        f"{contender.name} p50": statistics.median(waits),
        f"{contender.name} p99": statistics.quantiles(waits, n=100)[98],
    }


def paced(times: int, *, per_second: float) -> Iterator[int]:
    """Numbers, each at its time."""
    started = time.monotonic()
    for number in range(times):
        time.sleep(max(0.0, started + number / per_second - time.monotonic()))
        yield number


@contextmanager
def by_dramatiq(site: Site) -> Iterator[Callable[[], object]]:
    broker = RabbitmqBroker(url=site.broker)

    @dramatiq.actor(broker=broker, queue_name=QUEUE)
    def timed(sent: float, padding: str) -> None:
        raise NotImplementedError

    yield lambda: timed.send(time.time(), PADDING)
    broker.close()


@contextmanager
def by_penstock(site: Site) -> Iterator[Callable[[], object]]:
    declare(site.broker, {QUEUE: {"benchmark.timed"}}, name="benchmark")
    with Producer(site.broker) as producer:
        yield lambda: producer.publish(Timed(sent=time.time(), padding=PADDING))


MEASUREMENT = Measurement(__doc__, measure, LINES)

if __name__ == "__main__":
    main(MEASUREMENT)
