"""What one queue suffers, the others do not pay for: they keep four fifths of their rate, I8."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.faults.neighbours import Crash, Hopeless, Slow, Steady, Stuck
from tests.faults.readiness import consuming
from tests.faults.trial import RESULTS
from tests.waiting import until
from tests.workers.amqp import channel_on, put
from tests.workers.site import Site

from penstock.producers import Producer
from penstock.producers.ledger_producer import LedgerProducer
from penstock.schemas import Job

pytestmark = [pytest.mark.faults, pytest.mark.alone]

JOBS = 320
SHARE_MIN = 0.8
ROUNDS = 2
ROUNDS_MAX = 6  # where others have the machine in all the turns before
MODULES = ["tests.faults.neighbours"]
COUNT = text("SELECT count(*) FROM effects_of_tests")

Trouble = Callable[[Site], AbstractContextManager[None]]


@contextmanager
def poisoned(site: Site) -> Iterator[None]:
    """Nobody can read one half of what comes, the other half fails for good; the same workers have both queues."""
    with _stream(site, Hopeless, (b"[[[[", b'{"n": 1}'), pause_seconds=0.02):
        yield


@contextmanager
def crashing(site: Site) -> Iterator[None]:
    """One a second kills its process, in a pool of their own; to start another one takes a part of the machine."""
    with _pool_of_their_own(site), _stream(site, Crash, (b'{"n": 1}',), pause_seconds=1.0):
        yield


@contextmanager
def slow(site: Site) -> Iterator[None]:
    """All threads of their pool are taken for ever."""
    with _pool_of_their_own(site):
        site.producer.publish_many(Slow(n=n) for n in range(200))
        yield


@contextmanager
def blocked(site: Site) -> Iterator[None]:
    """RabbitMQ refuses whatever the dispatcher publishes for them."""
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish", "x-queue-type": "quorum"}
    with channel_on(site.broker_url) as channel:
        channel.queue_declare("a-full", durable=True, arguments=arguments)
        channel.queue_bind("a-full", "penstock.jobs", routing_key=Stuck.contract().type)
    with LedgerProducer(site.database_url) as producer:
        producer.publish_many(Stuck(n=n) for n in range(500))
    yield
    site.session.connection.execute(text("DELETE FROM jobs WHERE queue = 'a-full'"))


TROUBLES: dict[str, tuple[Trouble, tuple[str, ...]]] = {
    "poisoned": (poisoned, ("steady", "troubled")),
    "crashing": (crashing, ("steady",)),
    "slow": (slow, ("steady",)),
    "blocked": (blocked, ("steady", "troubled")),
}


@pytest.mark.parametrize("name", TROUBLES)
def test_other_queues_keep_four_fifths_of_their_rate(site: Site, name: str) -> None:
    """In turns with and without the trouble, since the machine has others to serve; the best turn of each counts."""
    trouble, queues = TROUBLES[name]
    way: Producer | LedgerProducer = Producer(site.broker_url)
    if name == "blocked":
        way = LedgerProducer(site.database_url)
    with way, site.pool(modules=MODULES, queues=queues, processes=2, threads=4) as pool:
        consuming(pool)
        rate(site, way)
        well, troubled = [], []
        for _ in range(ROUNDS_MAX):
            well.append(rate(site, way))
            with trouble(site):
                troubled.append(rate(site, way))
            if len(well) >= ROUNDS and max(troubled) >= SHARE_MIN * max(well):
                break
        assert pool.stop() == 0
    share = max(troubled) / max(well)
    write_down(name, jobs_per_second=max(well), share=share)
    assert share >= SHARE_MIN, f"{troubled} of {well} jobs/s"


def rate(site: Site, way: Producer | LedgerProducer) -> float:
    """Jobs per second of the steady queue, from a backlog to the last."""
    before = site.session.connection.execute(COUNT).scalar_one()
    started = time.monotonic()
    way.publish_many(Steady(n=n) for n in range(JOBS))
    until(
        lambda: site.session.connection.execute(COUNT).scalar_one() == before + JOBS,
        timeout_seconds=60,
        what="the steady jobs",
    )
    return JOBS / (time.monotonic() - started)


def write_down(name: str, *, jobs_per_second: float, share: float) -> None:
    """For docs/reliability.md."""
    path = os.environ.get(RESULTS)
    if path is not None:
        with Path(path).open("a") as file:
            file.write(json.dumps({"neighbour": name, "jobs_per_second": jobs_per_second, "share": share}) + "\n")


@contextmanager
def _stream(site: Site, job: type[Job], bodies: tuple[bytes, ...], *, pause_seconds: float) -> Iterator[None]:
    """All of these bodies, again and again."""
    over = threading.Event()

    def publish() -> None:
        with channel_on(site.broker_url) as channel:
            while not over.wait(pause_seconds):
                for body in bodies:
                    put(channel, job.contract().type, body)

    publishing = threading.Thread(target=publish)
    publishing.start()
    yield
    over.set()
    publishing.join()


@contextmanager
def _pool_of_their_own(site: Site) -> Iterator[None]:
    """Gone at the end with all that it has begun."""
    with ExitStack() as stack:
        pool = site.pool(
            modules=MODULES, name="troubled", queues=("troubled",), processes=2, threads=4, with_dispatcher=False
        )
        consuming(stack.enter_context(pool))
        yield
