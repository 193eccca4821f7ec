"""A connection for looking at queues, which is kept: the dispatcher looks every few seconds."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Self

import pika
import pika.exceptions

from penstock.producers.client.endpoint import Endpoint
from penstock.schemas.message import EXCHANGE

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from pika.adapters.blocking_connection import BlockingChannel

NOT_FOUND = 404


class Lookout:
    """Connects when it is asked; a connection that fails is given up, and the next question gets a new one."""

    def __init__(self, url: str, *, name: str) -> None:
        self._parameters = Endpoint.read(url, name=name).parameters
        self._connection: pika.BlockingConnection | None = None
        self._channel: BlockingChannel | None = None

    def count_ready(self, queues: AbstractSet[str]) -> dict[str, int | None]:
        """How many messages wait in each queue; None for a queue that does not exist. Raises pika's `AMQPError`.

        Something is asked in any case, so that an answer proves that RabbitMQ is there.
        """
        counts: dict[str, int | None] = {}
        try:
            with contextlib.suppress(pika.exceptions.ChannelClosedByBroker):
                self._open_channel().exchange_declare(EXCHANGE, passive=True)
            for queue in sorted(queues):
                try:
                    counts[queue] = self._open_channel().queue_declare(queue, passive=True).method.message_count
                except pika.exceptions.ChannelClosedByBroker as error:
                    if error.reply_code == NOT_FOUND:
                        counts[queue] = None
        except (pika.exceptions.AMQPError, OSError):
            self.close()
            raise
        return counts

    def close(self) -> None:
        """Disconnect."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(pika.exceptions.AMQPError, OSError):
                connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open_channel(self) -> BlockingChannel:
        if self._connection is None:
            self._connection = pika.BlockingConnection(self._parameters)
        if self._channel is None or not self._channel.is_open:
            self._channel = self._connection.channel()
        return self._channel
