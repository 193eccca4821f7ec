"""What the machine allows: messages taken from a quorum queue by pika and nothing else, rows inserted in batches by
psycopg and nothing else, durable commits one after another. No platform that uses these can be faster.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pika
import psycopg
from benchmarks.contenders import QUEUE, fill_queue
from benchmarks.load import Load
from benchmarks.rounds import Figure, Line, Measurement, Sample, main
from benchmarks.site import fresh_site
from pika.adapters.select_connection import SelectConnection

from penstock.workers.topology import QUEUE_ARGUMENTS

if TYPE_CHECKING:
    from typing import Any

    from benchmarks.servers import Servers
    from pika.adapters.base_connection import BaseConnection

MESSAGES = 40_000
ROWS = 40_000
BATCH_ROWS = 500
COMMITS = 1_000
PREFETCH = 2_000

LINES: tuple[Line, ...] = (
    Figure("limit: messages a second, pika's SelectConnection, quorum queue", "pika"),
    Figure("limit: rows a second, psycopg, 500 in a statement and commit", "insert"),
    Figure("limit: commits a second, one session", "commits"),
)

BODY = b'{"n": 100000, "padding": "' + Load("noop", 1).padding.encode() + b'"}'
INSERT = """
    INSERT INTO jobs (id, type, version, queue, state, payload, due_at, created_at)
    SELECT gen_random_uuid(), 'benchmark.noop', 1, 'benchmark', 'completed', %s, now(), now()
    FROM generate_series(1, %s)
"""


def measure(servers: Servers, scale: float) -> Sample:
    """One round."""
    with fresh_site(servers) as site:
        return {
            "pika": consume(site.broker, round(MESSAGES * scale)),
            "insert": insert(site.database, round(ROWS * scale)),
            "commits": commit(site.database, round(COMMITS * scale)),
        }


def consume(url: str, messages: int) -> float:
    """Messages per second, acked 500 at a time."""
    with pika.BlockingConnection(pika.URLParameters(url)) as declaring:
        declaring.channel().queue_declare(QUEUE, durable=True, arguments=QUEUE_ARGUMENTS)
    fill_queue(url, QUEUE, (BODY for _ in range(messages)))
    marks: list[float] = []
    count = 0

    def receive(channel: pika.channel.Channel, method: pika.spec.Basic.Deliver, _: object, __: bytes) -> None:
        nonlocal count
        count += 1
        if count in (1, messages):
            marks.append(time.perf_counter())
        if count % BATCH_ROWS == 0:
            channel.basic_ack(method.delivery_tag or 0, multiple=True)
        if count == messages:
            connection.close()

    def start(channel: pika.channel.Channel) -> None:
        channel.basic_qos(prefetch_count=PREFETCH)
        channel.basic_consume(QUEUE, receive)

    def on_open(opened: BaseConnection[Any]) -> None:
        opened.channel(on_open_callback=start)

    connection = SelectConnection(
        pika.URLParameters(url),
        on_open_callback=on_open,
        on_close_callback=lambda closed, _: closed.ioloop.stop(),
    )
    connection.ioloop.start()
    return messages / (marks[1] - marks[0])


def insert(url: str, rows: int) -> float:
    """Rows per second into the ledger's own table, with its indexes."""
    with psycopg.connect(url, autocommit=True) as connection:
        started = time.perf_counter()
        for _ in range(rows // BATCH_ROWS):
            connection.execute(INSERT, [BODY, BATCH_ROWS])
        return rows / (time.perf_counter() - started)


def commit(url: str, commits: int) -> float:
    """Durable commits per second."""
    with psycopg.connect(url, autocommit=True) as connection:
        started = time.perf_counter()
        for n in range(commits):
            connection.execute("INSERT INTO numbers (n) VALUES (%s)", [n])
        return commits / (time.perf_counter() - started)


MEASUREMENT = Measurement(__doc__, measure, LINES)

if __name__ == "__main__":
    main(MEASUREMENT)
