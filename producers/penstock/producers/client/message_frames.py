"""A message as the frames that follow its `basic.publish`, and RabbitMQ's answer to it, each in one go.

pika makes objects of properties and frames, and takes each answer through its callbacks: that is half of what a
confirmed publish costs here beside the system calls. The bytes are those that pika would make.
"""

import functools
import struct
import time
from typing import NamedTuple

import pika.exceptions
import pika.spec

from penstock.schemas.message import CONTENT_TYPE, Message

SHORT_BYTES_MAX = 255

ACK_BYTES = 21

_END = bytes([pika.spec.FRAME_END])
_PERSISTENT = bytes([pika.spec.PERSISTENT_DELIVERY_MODE])
_FRAME = struct.Struct(">BHI")  # kind, channel, size
_CONTENT = struct.Struct(">HHQH")  # class, weight, size of the body, flags
_INTEGER = struct.Struct(">ci")
_LONG = struct.Struct(">cI")
_SIZE = struct.Struct(">I")
_TIME = struct.Struct(">Q")
_ACK = struct.Struct(">BHIIQBB")  # kind, channel, size, method, tag, whether up to it, end
_ACK_MARKS = (pika.spec.FRAME_METHOD, ACK_BYTES - 8, pika.spec.Basic.Ack.INDEX, pika.spec.FRAME_END)

_Properties = pika.spec.BasicProperties
_ALWAYS = (
    _Properties.FLAG_CONTENT_TYPE
    | _Properties.FLAG_HEADERS
    | _Properties.FLAG_DELIVERY_MODE
    | _Properties.FLAG_MESSAGE_ID
    | _Properties.FLAG_TIMESTAMP
    | _Properties.FLAG_TYPE
)


class Ack(NamedTuple):
    """RabbitMQ has taken what was published under this tag; `multiple`: and all before it."""

    tag: int
    multiple: bool


def content_frames(channel: int, message: Message, *, body_bytes_max: int) -> bytes:
    """Its header frame and body frames, for a message that is sent now.

    Raises `pika.exceptions.ShortStringTooLong` for what does not fit into a property.
    """
    flags, table = _ALWAYS, b""
    for name, value in message.headers().items():
        table += _name(name) + (_INTEGER.pack(b"I", value) if isinstance(value, int) else _long(value))
    properties = _JSON + _SIZE.pack(len(table)) + table + _PERSISTENT
    if message.correlation_id is not None:
        flags |= _Properties.FLAG_CORRELATION_ID
        properties += _short(message.correlation_id)
    if message.reply_to is not None:
        flags |= _Properties.FLAG_REPLY_TO
        properties += _short(message.reply_to)
    properties += _short(message.id) + _TIME.pack(int(time.time())) + _short(message.type)
    if message.app_id is not None:
        flags |= _Properties.FLAG_APP_ID
        properties += _short(message.app_id)
    body = message.body
    content = _CONTENT.pack(_Properties.INDEX, 0, len(body), flags) + properties
    frames = _FRAME.pack(pika.spec.FRAME_HEADER, channel, len(content)) + content + _END
    for at in range(0, len(body), body_bytes_max):
        part = body[at : at + body_bytes_max]
        frames += _FRAME.pack(pika.spec.FRAME_BODY, channel, len(part)) + part + _END
    return frames


def read_ack(data: bytes, at: int) -> Ack | None:
    """The `basic.ack` that begins at this place; None: it is something else, or not all there."""
    if len(data) - at < ACK_BYTES:
        return None
    kind, _, size, method, tag, bits, end = _ACK.unpack_from(data, at)
    if (kind, size, method, end) != _ACK_MARKS:
        return None
    return Ack(tag, bool(bits & 1))


def _short(text: str) -> bytes:
    encoded = text.encode()
    if len(encoded) > SHORT_BYTES_MAX:
        raise pika.exceptions.ShortStringTooLong(encoded)
    return bytes([len(encoded)]) + encoded


def _long(text: str) -> bytes:
    encoded = text.encode()
    return _LONG.pack(b"S", len(encoded)) + encoded


_name = functools.cache(_short)  # of what is the same in all messages
_JSON = _short(CONTENT_TYPE)
