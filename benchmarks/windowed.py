"""Confirmed publishes by pika's `SelectConnection` and nothing else, with so many outstanding at any time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pika
from pika.adapters.select_connection import SelectConnection

from penstock.schemas.message import CONTENT_TYPE, EXCHANGE, Message

if TYPE_CHECKING:
    from typing import Any

    from pika.adapters.base_connection import BaseConnection


def publish_windowed(url: str, message: Message, *, outstanding: int, publishes: int) -> float:
    """Publishes per second of the same message: one thread, no hand-over, no retries, no deadline."""
    properties = pika.BasicProperties(
        message_id=message.id,
        type=message.type,
        content_type=CONTENT_TYPE,
        timestamp=int(time.time()),
        headers=message.headers(),
        delivery_mode=pika.spec.PERSISTENT_DELIVERY_MODE,
    )
    confirms = _Confirms()
    sent = confirmed = 0
    started = ended = 0.0

    def on_open(opened: BaseConnection[Any]) -> None:
        opened.channel(on_open_callback=on_channel)

    def on_channel(channel: pika.channel.Channel) -> None:
        def begin(_: object) -> None:
            nonlocal started
            started = time.perf_counter()
            send(channel)

        channel.confirm_delivery(lambda frame: on_confirm(channel, frame.method), callback=begin)

    def send(channel: pika.channel.Channel) -> None:
        nonlocal sent
        while sent < publishes and sent - confirmed < outstanding:
            channel.basic_publish(EXCHANGE, message.type, message.body, properties, mandatory=True)
            sent += 1

    def on_confirm(channel: pika.channel.Channel, confirm: Any) -> None:
        nonlocal confirmed, ended
        confirmed = confirms.take(confirm)
        if confirmed >= publishes:
            ended = time.perf_counter()
        if ended or isinstance(confirm, pika.spec.Basic.Nack):
            connection.close()
        else:
            send(channel)

    connection = SelectConnection(
        pika.URLParameters(url),
        on_open_callback=on_open,
        on_close_callback=lambda closed, _: closed.ioloop.stop(),
    )
    connection.ioloop.start()
    if not ended:
        raise RuntimeError("RabbitMQ has not confirmed them all")
    return publishes / (ended - started)


class _Confirms:
    """How many there are, in whatever order they come."""

    def __init__(self) -> None:
        self._up_to = 0
        self._alone: set[int] = set()

    def take(self, confirm: Any) -> int:
        """Count one; returns how many messages are confirmed by now."""
        if confirm.multiple:
            self._up_to = confirm.delivery_tag
            self._alone = {tag for tag in self._alone if tag > self._up_to}
        else:
            self._alone.add(confirm.delivery_tag)
        return self._up_to + len(self._alone)
