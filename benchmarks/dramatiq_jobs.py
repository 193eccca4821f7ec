"""The same jobs for plain Dramatiq on RabbitMQ, with its defaults."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import dramatiq
import psycopg
from benchmarks.clock import Clock
from benchmarks.load import PAUSE_SECONDS
from dramatiq.brokers.rabbitmq import RabbitmqBroker

dramatiq.set_broker(RabbitmqBroker(url=os.environ["BENCHMARK_BROKER"]))
clock = Clock()
mine = threading.local()


@dramatiq.actor(queue_name="benchmark")
def noop(n: int, padding: str) -> None:
    clock.tick()


@dramatiq.actor(queue_name="benchmark")
def pause(n: int, padding: str) -> None:
    clock.tick()
    time.sleep(PAUSE_SECONDS)


@dramatiq.actor(queue_name="benchmark")
def once(n: int, padding: str) -> None:
    """Deduplicated by hand."""
    with taken(f"key-{n}"):
        clock.tick()


@dramatiq.actor(queue_name="benchmark")
def add_row(n: int, padding: str) -> None:
    """Deduplicated by hand, with a row of its own."""
    with taken(f"key-{n}") as connection:
        if connection is not None:
            connection.execute("INSERT INTO numbers (n) VALUES (%s)", [n])
    clock.tick()


@dramatiq.actor(queue_name="benchmark")
def timed(sent: float, padding: str) -> None:
    clock.arrived(sent)


@dramatiq.actor(queue_name="benchmark")
def timed_pause(sent: float, padding: str) -> None:
    clock.arrived(sent)
    time.sleep(PAUSE_SECONDS)


@contextmanager
def taken(key: str) -> Iterator[psycopg.Connection | None]:
    """What people write by hand: take the key, commit, run, note that it is done, commit. None: somebody has run it."""
    connection = _connection()
    found = connection.execute("INSERT INTO seen (key, done) VALUES (%s, false) ON CONFLICT DO NOTHING", [key])
    connection.commit()
    if not found.rowcount:
        yield None
        return
    yield connection
    connection.execute("UPDATE seen SET done = true WHERE key = %s", [key])
    connection.commit()


def _connection() -> psycopg.Connection:
    """A connection for each thread, kept."""
    if not hasattr(mine, "connection"):
        mine.connection = psycopg.connect(os.environ["BENCHMARK_DATABASE"])
    found: psycopg.Connection = mine.connection
    return found
