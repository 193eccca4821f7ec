"""Consumption: one channel with a consumer for each queue, all with the same prefetch, from its opening to its end.

It is never changed. To consume otherwise, or not at all, it is closed: whatever was unacked on it goes back to its
queue, also what was still on its way to us. Cancelling consumers leaves no moment of which both sides know what is
held: pika takes the first one that RabbitMQ has cancelled for all of them.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from queue import SimpleQueue

    import pika
    from pika.channel import Channel

    from penstock.workers.connection import Connection

# RabbitMQ answers in milliseconds; for a queue that has lost its leader it looks for one, for a minute.
ANSWER_SECONDS_MAX = 15.0


class Delivery(NamedTuple):
    """One message as it came."""

    generation: int
    tag: int
    queue: str
    properties: pika.BasicProperties | None
    """None: there are some that cannot be read"""
    body: bytes


class Consumption:
    """Puts what arrives into `inbox`, marked with its `generation`. `prefetch` is RabbitMQ's, for each queue."""

    def __init__(
        self,
        connection: Connection,
        *,
        queues: Sequence[str],
        prefetch: int,
        generation: int,
        inbox: SimpleQueue[Delivery],
        on_confirmed: Callable[[], None],
        on_deleted: Callable[[], None],
        on_end: Callable[[BaseException], None],
    ) -> None:
        self.queues = queues
        self.prefetch = prefetch
        self.generation = generation
        self._inbox = inbox
        self._on_confirmed = on_confirmed
        self._asked = False
        self._confirmed = 0
        self._heard_at = time.monotonic()
        self._channel = connection.channel(on_open_callback=self._on_open)
        self._channel.add_on_cancel_callback(lambda _: on_deleted())
        self._channel.add_on_close_callback(lambda _, error: on_end(error))

    @property
    def is_confirmed(self) -> bool:
        """Whether RabbitMQ has confirmed every consumer."""
        return self._channel.is_open and self._confirmed == len(self.queues)

    @property
    def is_stuck(self) -> bool:
        """Whether RabbitMQ has owed us an answer for too long."""
        return not self.is_confirmed and time.monotonic() - self._heard_at > ANSWER_SECONDS_MAX

    @property
    def unanswered_queue(self) -> str | None:
        """The queue to whose consumer RabbitMQ owes the next answer: they are asked for one after the other."""
        return self.queues[self._confirmed] if self._asked and self._confirmed < len(self.queues) else None

    def ack(self, tag: int) -> None:
        """Ack everything up to this tag, in one frame."""
        if self._channel.is_open:
            self._channel.basic_ack(tag, multiple=True)

    def close(self) -> None:
        """Give back what is not acked; `on_end` follows."""
        if not (self._channel.is_closing or self._channel.is_closed):
            self._heard_at = time.monotonic()
            self._channel.close()

    def _on_open(self, channel: Channel) -> None:
        self._heard_at = time.monotonic()
        channel.basic_qos(prefetch_count=self.prefetch, callback=lambda _: self._consume(channel))

    def _consume(self, channel: Channel) -> None:
        if not channel.is_open:  # closed by us meanwhile
            return
        self._asked = True
        for queue in self.queues:
            channel.basic_consume(queue, self._receiver(queue), callback=lambda _: self._on_consuming())

    def _on_consuming(self) -> None:
        self._heard_at = time.monotonic()
        self._confirmed += 1
        if self.is_confirmed:
            self._on_confirmed()

    def _receiver(self, queue: str) -> Callable[..., None]:
        put, generation = self._inbox.put, self.generation

        def receive(_channel: Channel, method: Any, properties: pika.BasicProperties | None, body: bytes) -> None:
            put(Delivery(generation, method.delivery_tag, queue, properties, body))

        return receive
