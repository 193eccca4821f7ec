"""A message as AMQP properties: the wire table, in pika's words."""

import time
from collections.abc import Callable
from typing import NamedTuple

import pika

from penstock.schemas.message import CONTENT_TYPE, Message

PERSISTENT = 2


class Envelope(NamedTuple):
    """Where a message goes that is no job. What comes back is told by the `message_id` and `type` of its properties."""

    exchange: str
    routing_key: str
    properties: pika.BasicProperties
    mandatory: bool = True


Enclose = Callable[[Message], Envelope]


def properties_of(message: Message) -> pika.BasicProperties:
    """The AMQP properties of a message that is sent now."""
    return pika.BasicProperties(
        message_id=message.id,
        type=message.type,
        content_type=CONTENT_TYPE,
        app_id=message.app_id,
        correlation_id=message.correlation_id,
        reply_to=message.reply_to,
        timestamp=int(time.time()),
        headers=message.headers(),
        delivery_mode=PERSISTENT,
    )
