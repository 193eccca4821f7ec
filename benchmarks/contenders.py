"""Who is measured: how each one's queue is filled, its worker started, and when its last job is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import dramatiq
import pika
import psycopg
from benchmarks import penstock_jobs as jobs
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from penstock.producers import Producer, Publish
from penstock.workers.topology import declare

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.load import Load
    from benchmarks.site import Site

THREADS = 8
QUEUE = "benchmark"


COMPLETED = """
    SELECT count(*) FILTER (WHERE state = 'completed'), extract(epoch FROM max(finished_at)) FROM jobs WHERE id >= %s
"""


_JOBS = {
    "noop": jobs.Noop,
    "pause": jobs.Pause,
    "add_row": jobs.AddRow,
    "write_row": jobs.WriteRow,
    "write_rows": jobs.WriteRows,
}


class Contender(Protocol):
    """A platform."""

    @property
    def name(self) -> str:
        """What it is called in tables."""

    def fill(self, site: Site, load: Load) -> None:
        """Put all jobs of the load into the queue."""

    def command(self, *, processes: int) -> list[str]:
        """The worker's, with 8 threads in each process."""

    def finished(self, site: Site, load: Load) -> float | None:
        """When the last job was done, in seconds since the epoch; None if it is not. Asked when all have been run."""


class Penstock:
    """Done is what the ledger has completed: a full row for each job, payload included."""

    name = "penstock"

    def fill(self, site: Site, load: Load) -> None:
        job = _JOBS[load.kind]
        declare(site.broker, {QUEUE: {f"benchmark.{load.kind}"}}, name="benchmark")
        with Producer(site.broker) as producer:
            producer.publish_many(
                Publish(job(n=n, padding=load.padding), key=f"key-{n}" if load.keyed else None)
                for n in range(load.jobs)
            )

    def command(self, *, processes: int) -> list[str]:
        return [
            *("-m", "penstock.console", "worker", "--jobs", "benchmarks.penstock_jobs"),
            *("--processes", str(processes), "--threads", str(THREADS), "--metrics-port", "0"),
        ]

    def finished(self, site: Site, load: Load) -> float | None:
        with psycopg.connect(site.database) as connection:
            row = connection.execute(COMPLETED, [site.since]).fetchone()
        return float(row[1]) if row and row[0] == load.jobs else None


class Dramatiq:
    """Done is what has been run: it has no record of more."""

    name = "dramatiq"

    def fill(self, site: Site, load: Load) -> None:
        broker = RabbitmqBroker(url=site.broker, middleware=[])
        broker.declare_queue(QUEUE, ensure=True)
        broker.close()
        fill_queue(site.broker, QUEUE, (_message(load, n) for n in range(load.jobs)))

    def command(self, *, processes: int) -> list[str]:
        return ["-m", "dramatiq", "benchmarks.dramatiq_jobs", "-p", str(processes), "-t", str(THREADS)]

    def finished(self, site: Site, load: Load) -> float | None:
        progress = site.progress()
        return progress.last if progress and progress.jobs == load.jobs else None


def _message(load: Load, n: int) -> bytes:
    """As `actor.send` makes it; its middleware adds nothing that a worker would need."""
    message: dramatiq.Message[Any] = dramatiq.Message(
        queue_name=QUEUE, actor_name=load.kind, args=(), kwargs={"n": n, "padding": load.padding}, options={}
    )
    return message.encode()


def fill_queue(url: str, queue: str, bodies: Iterable[bytes]) -> None:
    """Put persistent messages straight into a queue that exists; returns when RabbitMQ has them all."""
    persistent = pika.BasicProperties(delivery_mode=2)
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        for body in bodies:
            channel.basic_publish("", queue, body, persistent)
        channel.queue_declare(queue, passive=True)  # it is answered after all that came before it on this channel
