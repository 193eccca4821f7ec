"""RabbitMQ as another program sees it: plain pika, following the wire table."""

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pika
import structlog
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker
from tests.waiting import until

from penstock.schemas.identifiers import new_job_id
from penstock.workers.deliveries import Deliveries


@contextmanager
def channel_on(url: str) -> Iterator[BlockingChannel]:
    """A channel with publisher confirms."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        yield channel


def put(
    channel: BlockingChannel,
    job_type: str | None,
    body: bytes,
    *,
    exchange: str = "penstock.jobs",
    routing_key: str | None = None,
    job_id: str | None = None,
    **properties: Any,
) -> str:
    """Publish one message as any client in any language can; returns its id."""
    given = {"message_id": job_id or new_job_id(), "type": job_type, "content_type": "application/json"} | properties
    message = pika.BasicProperties(delivery_mode=2, **given)
    channel.basic_publish(exchange, routing_key or job_type or "", body, message, mandatory=True)
    return str(given["message_id"])


def put_note(channel: BlockingChannel, name: str, **options: Any) -> str:
    """Publish a `test.note`."""
    return put(channel, "test.note", json.dumps({"name": name}).encode(), **options)


def ready(url: str, queue: str) -> int | None:
    """How many messages wait in a queue; None if there is none."""
    found = _look_at(url, queue)
    return None if found is None else found.message_count


def consumers(url: str, queue: str) -> int:
    """How many consume a queue. Who does has declared all his bindings before, so that it can be published to."""
    found = _look_at(url, queue)
    return 0 if found is None else found.consumer_count


def _look_at(url: str, queue: str) -> Any:
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        try:
            return connection.channel().queue_declare(queue, passive=True).method
        except ChannelClosedByBroker:
            return None


class RawHeaders(pika.BasicProperties):
    """Properties that have nothing but one header, `x`, of a value that pika would not write."""

    def __init__(self, value: bytes) -> None:
        super().__init__()
        self._value = value

    def encode(self) -> list[bytes]:
        """The flag of the headers, their size, the name, the value."""
        return [struct.pack(">HI", self.FLAG_HEADERS, 2 + len(self._value)), b"\1x", self._value]


def nested(levels: int) -> bytes:
    """The value of a header: a table in a table in a table."""
    value = b"V"
    for _ in range(levels):
        value = b"F" + struct.pack(">I", 2 + len(value)) + b"\1x" + value
    return value


UNREADABLE_HEADERS = {
    "milliseconds for seconds": RawHeaders(b"T" + struct.pack(">Q", 1_700_000_000_000)),
    "before 1970": RawHeaders(b"T" + struct.pack(">q", -1)),
    "tables in tables": RawHeaders(nested(2_000)),
}


@contextmanager
def consuming(url: str, bindings: dict[str, set[str]]) -> Iterator[Deliveries]:
    """A consumer of these queues, once it is one."""
    anew: set[str] = set()
    consumer = Deliveries(
        url=url, bindings=bindings, prefetch=16, name="test", log=structlog.get_logger(), on_declared_anew=anew.update
    )
    consumer.start()
    until(lambda: consumer.is_consuming or consumer.refused, what="the consumer")
    yield consumer
    consumer.stop()
