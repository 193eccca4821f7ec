"""The other end of the wire: queues for job types, and what has arrived in them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import pika

from penstock.schemas import Job
from penstock.schemas.message import EXCHANGE

ACK_EVERY = 500  # a quorum queue hands out at most 2,000 without an ack
QUORUM = {"x-queue-type": "quorum"}


class AddRow(Job, type="demo.add_row", version=3, queue="demo"):
    """The job of these tests."""

    n: int
    text: str = ""


class NobodyListens(Job, type="demo.nobody_listens"):
    """A job for whose type no test binds a queue."""

    n: int = 0


@dataclass(frozen=True)
class Arrived:
    """One message as a worker would get it."""

    properties: pika.BasicProperties
    body: bytes
    routing_key: str
    exchange: str

    @property
    def id(self) -> str:
        return str(self.properties.message_id)


class Queues:
    """Queues on one virtual host, behind a connection of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self.channel = self._connection.channel()
        self.channel.exchange_declare(EXCHANGE, "topic", durable=True)  # type: ignore[arg-type]
        self._names: list[str] = []

    def bind(self, job: type[Job], arguments: Mapping[str, Any] = QUORUM) -> None:
        """A durable queue for one job type."""
        name = job.contract().type
        self.channel.queue_declare(name, durable=True, arguments=dict(arguments))
        self.channel.queue_bind(name, EXCHANGE, name)
        self._names.append(name)

    def take(self) -> list[Arrived]:
        """Everything that is ready, out of all queues."""
        return [arrived for name in self._names for arrived in self._take(name)]

    def ids(self) -> list[str]:
        """The job ids of everything that is ready, in order of arrival."""
        return [arrived.id for arrived in self.take()]

    def fill(self, ids: list[str]) -> list[str]:
        """Add the job ids of what has arrived since the last time."""
        ids += self.ids()
        return ids

    def _take(self, name: str) -> list[Arrived]:
        count = self.channel.queue_declare(name, passive=True).method.message_count
        arrived: list[Arrived] = []
        if count:
            # The stubs say that bodies are text; they are bytes.
            deliveries: Iterator[tuple[Any, Any, Any]] = self.channel.consume(name, inactivity_timeout=5)
            for method, properties, body in deliveries:
                if method is None:
                    break
                arrived.append(Arrived(properties, body, method.routing_key, method.exchange))
                if len(arrived) == count or len(arrived) % ACK_EVERY == 0:
                    self.channel.basic_ack(method.delivery_tag, multiple=True)
                if len(arrived) == count:
                    break
            self.channel.cancel()
        return arrived

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
