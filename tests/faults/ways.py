"""The ways in: each takes a job and returns the id in its receipt, or raises."""

import contextlib
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError

from penstock.ledger.database import LedgerUnavailable
from penstock.producers import Producer, PublishError
from penstock.producers.client.properties import properties_of
from penstock.producers.ledger_producer import LedgerProducer
from penstock.producers.outbox import enqueue
from penstock.schemas import Job, Message
from penstock.schemas.message import EXCHANGE

TIMEOUT_SECONDS = 15.0
REPLIES = "penstock.replies.load"
# What a way may raise where there is no receipt; whoever gets it comes again under the same key.
FAULTS = (PublishError, LedgerUnavailable, DBAPIError, AMQPError, OSError)


class Way(Protocol):
    """One way in."""

    def publish(self, job: Job, *, key: str, delay: timedelta | None) -> str:
        """Returns the job id of the receipt."""
        ...

    def close(self) -> None:
        """Give back what is held."""
        ...


class ByProducer:
    """Over RabbitMQ or straight into the ledger, with the classes that are made for it."""

    def __init__(self, producer: Producer | LedgerProducer) -> None:
        self._producer = producer

    def publish(self, job: Job, *, key: str, delay: timedelta | None) -> str:
        """The receipt is that of the producer."""
        return self._producer.publish(job, key=key, delay=delay).job_id

    def close(self) -> None:
        """Close the producer."""
        self._producer.close()


class ByOutbox:
    """In a transaction in the database of a service; the receipt is its commit."""

    def __init__(self, url: str) -> None:
        self._engine = create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 5})

    def publish(self, job: Job, *, key: str, delay: timedelta | None) -> str:
        """Commit it."""
        with self._engine.begin() as connection:
            return enqueue(connection, job, key=key, delay=delay, app_id="load")

    def close(self) -> None:
        """Close its connections."""
        self._engine.dispose()


class ByAsking:
    """Plain AMQP with an address for replies, which the judge reads."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._using = threading.Lock()
        self._connection: pika.BlockingConnection | None = None
        self._channel: BlockingChannel | None = None

    def publish(self, job: Job, *, key: str, delay: timedelta | None) -> str:
        """The receipt is RabbitMQ's confirm."""
        due_at = None if delay is None else datetime.now(UTC) + delay
        message = Message.of(job, key=key, due_at=due_at, app_id="load")
        properties = properties_of(message)
        properties.reply_to = REPLIES
        with self._using:
            try:
                self._open().basic_publish(EXCHANGE, message.type, message.body, properties, mandatory=True)
            except BaseException:
                self.close()
                raise
        return message.id

    def close(self) -> None:
        """Hang up, whoever is still there."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(AMQPError, OSError):
                connection.close()

    def _open(self) -> BlockingChannel:
        if self._channel is None:
            parameters = pika.URLParameters(self._url)
            parameters.heartbeat, parameters.blocked_connection_timeout = 10, TIMEOUT_SECONDS
            self._connection = pika.BlockingConnection(parameters)
            self._channel = self._connection.channel()
            self._channel.queue_declare(REPLIES, durable=True, arguments={"x-queue-type": "quorum"})
            self._channel.confirm_delivery()
        return self._channel


OPENING: dict[str, Callable[[str], Way]] = {
    "broker": lambda url: ByProducer(Producer(url, app_id="load", timeout_seconds=TIMEOUT_SECONDS)),
    "ledger": lambda url: ByProducer(LedgerProducer(url, app_id="load")),
    "outbox": ByOutbox,
    "asking": ByAsking,
}
