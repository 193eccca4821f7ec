"""Exchange, queues and bindings on RabbitMQ."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pika
import pika.exceptions
from pika.exchange_type import ExchangeType

from penstock.producers.client.endpoint import Endpoint
from penstock.schemas.message import EXCHANGE
from penstock.workers.lookout import NOT_FOUND, Lookout

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from pika.adapters.blocking_connection import BlockingChannel

PRECONDITION_FAILED = 406

# A queue that has just been deleted is let be for so long. RabbitMQ tells its consumers; where the queue is declared
# again before that, some are never told, and what comes into it is counted as delivered to them, and reaches nobody.
GONE_SECONDS = 2.0

# Only what is constant for the life of the wire version; what can be tuned is set by policy. Attempts are
# counted in the ledger, so the broker must never dead-letter a job for having been delivered often.
QUEUE_ARGUMENTS = {"x-queue-type": "quorum", "x-delivery-limit": 2_000_000_000}


@dataclass(slots=True)
class Topology:
    """What was found: queues that had to be declared `anew`, and those `refused`, with the reason."""

    anew: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)


def declare(url: str, bindings: Mapping[str, AbstractSet[str]], *, name: str) -> Topology:
    """Make sure that the exchange, these queues and their bindings (job types by queue) exist.

    A queue that exists with other arguments is reported, not touched. Raises pika's `AMQPError` when the broker
    cannot be reached.
    """
    found = Topology()
    with pika.BlockingConnection(Endpoint.read(url, name=name).parameters) as connection:
        channel = connection.channel()
        channel.exchange_declare(EXCHANGE, exchange_type=ExchangeType.topic, durable=True)  # type: ignore[arg-type]
        for queue, types in bindings.items():
            try:
                if not channel.is_open:
                    channel = connection.channel()
                channel = _declare_queue(connection, channel, queue, found)
                for job_type in types:
                    channel.queue_bind(queue, EXCHANGE, routing_key=job_type)
            except pika.exceptions.ChannelClosedByBroker as error:
                found.refused[queue] = error.reply_text
    return found


def try_consumer(url: str, queue: str, *, name: str) -> None:
    """Consume a queue for a moment. Raises `AMQPError` where that is not possible, which may take RabbitMQ a minute."""
    with pika.BlockingConnection(Endpoint.read(url, name=name).parameters) as connection:
        channel = connection.channel()
        channel.basic_qos(prefetch_count=1)
        channel.basic_consume(queue, lambda *_: None)  # what comes goes back with the connection


def count_ready(url: str, queues: AbstractSet[str], *, name: str) -> dict[str, int | None]:
    """How many messages wait in each queue; None for a queue that does not exist. Raises `AMQPError`."""
    with Lookout(url, name=name) as lookout:
        return lookout.count_ready(queues)


def _declare_queue(
    connection: pika.BlockingConnection, channel: BlockingChannel, queue: str, found: Topology
) -> BlockingChannel:
    try:
        channel.queue_declare(queue, passive=True)
    except pika.exceptions.ChannelClosedByBroker as error:
        if error.reply_code != NOT_FOUND:
            raise
        channel = connection.channel()
        found.anew.add(queue)
    channel.queue_declare(queue, durable=True, arguments=QUEUE_ARGUMENTS)
    return channel
