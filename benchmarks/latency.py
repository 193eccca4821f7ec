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
from benchmarks.penstock_jobs import Timed, TimedPause
from benchmarks.rounds import Figure, Line, Measurement, Ratio, Sample, main
from benchmarks.site import fresh_site, running, wait_for
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from penstock.producers import Producer, Publish
from penstock.workers.topology import declare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from benchmarks.contenders import Contender
    from benchmarks.servers import Servers
    from benchmarks.site import Site

    from penstock.producers import Batch

    Publishing = Callable[[Site, str], AbstractContextManager[Callable[[], object]]]

PER_SECOND = 50
SECONDS = 5
WARM_UP_SECONDS = 0.5
PADDING = Load("timed", 1).padding

LINES: tuple[Line, ...] = (
    Ratio("start latency at 50 jobs/s, p50 in ms", "penstock p50", "dramatiq p50"),
    Ratio("start latency at 50 jobs/s, p99 in ms", "penstock p99", "dramatiq p99"),
    Figure("start latency at 50 jobs/s, p50 in ms: Penstock", "penstock p50", at_most=4),
    Figure("start latency at 50 jobs/s, p99 in ms: Penstock", "penstock p99", at_most=10),
)


def measure(servers: Servers, scale: float) -> Sample:
    """One round."""
    return start_latencies(servers, "timed", per_second=PER_SECOND, seconds=SECONDS * scale)


def start_latencies(servers: Servers, kind: str, *, per_second: float, seconds: float) -> Sample:
    """The median and the 99th percentile of both, in milliseconds."""
    found: Sample = {}
    for contender, publishing in ((Dramatiq(), by_dramatiq), (Penstock(), by_penstock)):
        waits = start_latency(servers, contender, publishing, kind, per_second=per_second, seconds=seconds)
        found[f"{contender.name} p50"] = statistics.median(waits)
        found[f"{contender.name} p99"] = statistics.quantiles(waits, n=100)[98]
    return found


def start_latency(
    servers: Servers, contender: Contender, publishing: Publishing, kind: str, *, per_second: float, seconds: float
) -> list[float]:
    """In milliseconds, of a worker that has run some jobs already."""
    warm_up, jobs = round(WARM_UP_SECONDS * per_second), round(seconds * per_second)
    with (
        fresh_site(servers) as site,
        publishing(site, kind) as publish,
        running(site, contender.command(processes=1)) as it,
    ):
        publish()
        wait_for(site, site.progress, it)
        for _ in paced(warm_up + jobs - 1, per_second=per_second):
            publish()
        wait_for(site, lambda: True if (now := site.progress()) and now.jobs >= warm_up + jobs else None, it)
        return [1000 * seconds for seconds in read_waits(site.folder)[warm_up:]]


def paced(times: int, *, per_second: float) -> Iterator[int]:
    """Numbers, each at its time."""
    started = time.monotonic()
    for number in range(times):
        time.sleep(max(0.0, started + number / per_second - time.monotonic()))
        yield number


@contextmanager
def by_dramatiq(site: Site, kind: str) -> Iterator[Callable[[], object]]:
    broker = RabbitmqBroker(url=site.broker)

    @dramatiq.actor(broker=broker, queue_name=QUEUE, actor_name=kind)
    def timed(sent: float, padding: str) -> None:
        raise NotImplementedError

    yield lambda: timed.send(time.time(), PADDING)
    broker.close()


@contextmanager
def by_penstock(site: Site, kind: str) -> Iterator[Callable[[], object]]:
    """Each confirmed, but not waited for: one thread could not keep the pace otherwise. Dramatiq's has no confirms."""
    job = {"timed": Timed, "timed_pause": TimedPause}[kind]
    declare(site.broker, {QUEUE: {f"benchmark.{kind}"}}, name="benchmark")
    batches: list[Batch] = []
    with Producer(site.broker) as producer:
        yield lambda: batches.append(producer.begin(Publish(job(sent=time.time(), padding=PADDING))))
        lost = [failure for batch in batches for failure in batch.wait().failures]
    if lost:
        raise RuntimeError(f"{len(lost)} jobs were not confirmed: {lost[0]}")


MEASUREMENT = Measurement(__doc__, measure, LINES)

if __name__ == "__main__":
    main(MEASUREMENT)
