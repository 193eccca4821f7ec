"""The same jobs for plain Dramatiq on RabbitMQ, with its defaults."""

import os
import threading
import time

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
def add_row(n: int, padding: str) -> None:
    """What people write by hand: take the key, run, note that it is done. Two commits, a connection per thread."""
    connection = _connection()
    taken = connection.execute("INSERT INTO seen (key, done) VALUES (%s, false) ON CONFLICT DO NOTHING", [f"key-{n}"])
    connection.commit()
    if taken.rowcount:
        connection.execute("INSERT INTO numbers (n) VALUES (%s)", [n])
        connection.execute("UPDATE seen SET done = true WHERE key = %s", [f"key-{n}"])
        connection.commit()
    clock.tick()


@dramatiq.actor(queue_name="benchmark")
def timed(sent: float, padding: str) -> None:
    clock.arrived(sent)


def _connection() -> psycopg.Connection:
    if not hasattr(mine, "connection"):
        mine.connection = psycopg.connect(os.environ["BENCHMARK_DATABASE"])
    found: psycopg.Connection = mine.connection
    return found
