"""What a publisher sends that is no job: where it goes, and as what."""

from collections.abc import Callable
from typing import NamedTuple

import pika

from penstock.schemas.message import Message


class Envelope(NamedTuple):
    """Where a message goes that is no job. What comes back is told by the `message_id` and `type` of its properties."""

    exchange: str
    routing_key: str
    properties: pika.BasicProperties
    mandatory: bool = True


Enclose = Callable[[Message], Envelope]
