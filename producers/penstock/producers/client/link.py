"""One connection to RabbitMQ with one channel that confirms. It is used until it breaks, never repaired."""

import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import pika
import pika.exceptions
import structlog
from pika.adapters.select_connection import IOLoop, SelectConnection

from penstock.producers.client.envelope import Enclose
from penstock.producers.client.message_frames import ACK_BYTES, Ack, content_frames, read_ack
from penstock.producers.client.quick_send import quick_send
from penstock.schemas.message import EXCHANGE, Message

log = structlog.get_logger(__name__)

NOT_FOUND = 404
STARTS_MAX = 1_000
READ_BYTES = 64 * 1024


class LinkEvents(Protocol):
    """What a link tells its owner; all calls come from the I/O thread."""

    def on_ready(self, link: "Link") -> None:
        """Messages can be published now."""

    def on_lost(self, link: "Link", error: BaseException) -> None:
        """The connection could not be made or is gone; comes once, and is the last call."""

    def on_channel_closed(self, link: "Link", code: int, text: str) -> None:
        """RabbitMQ closed the channel: one of the messages broke a rule."""

    def on_blocked(self, link: "Link", blocked: bool) -> None:
        """An alarm began or ended."""

    def on_confirm(self, link: "Link", tag: int, *, multiple: bool, accepted: bool) -> None:
        """RabbitMQ took (or did not take) what was sent under this tag, or up to it."""

    def on_return(self, link: "Link", message_id: str, message_type: str) -> None:
        """No queue is bound for this message; its confirm still follows."""


class _Connection(SelectConnection):
    """A `SelectConnection` that writes a burst of messages, and reads what comes, with one system call each.

    pika hands each frame to the socket on its own, after it has asked whether the socket takes something, and reads
    until nothing is left: each of these calls lets go of the interpreter's lock. It also reads acks in one go, and
    tells `on_ack`. Only here do we go below pika's public interface.
    """

    _body_max_length: int
    _frame_buffer: bytes
    _transport: Any
    _burst: list[bytes] | None = None
    frames_received: int
    bytes_received: int

    def __init__(self, parameters: pika.connection.Parameters, *, on_ack: Callable[[Ack], None], **named: Any) -> None:
        self._on_ack = on_ack
        self._starts: dict[str, bytes] = {}
        self.is_plain = parameters.ssl_options is None  # TLS has states of its own, which pika minds
        super().__init__(parameters, **named)

    def _proto_connection_made(self, transport: Any) -> None:
        if self.is_plain:
            transport._MAX_RECV_BYTES = READ_BYTES  # noqa: SLF001
            transport._MAX_CONSUME_BYTES = 1  # noqa: SLF001  # what is left makes the loop come back
        super()._proto_connection_made(transport)  # type: ignore[misc]

    def content_of(self, channel: int, message: Message) -> bytes:
        """Its frames, but for the first."""
        return content_frames(channel, message, body_bytes_max=self._body_max_length)

    def publish(self, channel: int, message: Message, content: bytes) -> None:
        """As `Channel.basic_publish` does, with the frame that all messages of a type begin with made once.

        Raises `OSError` where nothing is held: it is not known then what was sent.
        """
        start = self._starts.get(message.type)
        if start is None:
            if len(self._starts) >= STARTS_MAX:
                self._starts.clear()
            publish = pika.spec.Basic.Publish(exchange=EXCHANGE, routing_key=message.type, mandatory=True)
            start = self._starts[message.type] = pika.frame.Method(channel, publish).marshal()
        if self._burst is None:
            self._write(start + content, passing=BlockingIOError)
        else:
            self._burst += (start, content)

    @property
    def is_clogged(self) -> bool:
        """Whether something waits until the socket takes more."""
        return bool(self._transport.get_write_buffer_size())

    def hold(self) -> None:
        """Keep what is published until `send_held`."""
        self._burst = []

    def send_held(self) -> None:
        """Write it all at once."""
        frames, self._burst = self._burst, None
        if frames and self.is_open:
            self._write(b"".join(frames), passing=OSError)  # where it is broken, pika finds out as well

    def read(self, file: int, events: int) -> bool:
        """Read what has come, if nothing else has happened to our socket; false: that is for pika to do."""
        transport = self._transport
        if not self.is_plain or transport is None or events != IOLoop.READ or transport._sock.fileno() != file:  # noqa: SLF001
            return False
        try:
            data = transport._sock.recv(READ_BYTES)  # noqa: SLF001
        except OSError:  # pika finds out as well
            return False
        if data:
            self._on_data_available(data)
        return bool(data)

    def _on_data_available(self, data_in: bytes) -> None:
        data, at = self._frame_buffer + data_in if self._frame_buffer else data_in, 0
        while (ack := read_ack(data, at)) is not None:
            at += ACK_BYTES
            self.bytes_received += ACK_BYTES  # by these pika knows that the connection lives
            self.frames_received += 1
            self._on_ack(ack)
        self._frame_buffer = b""
        if at < len(data):
            super()._on_data_available(data[at:])  # type: ignore[misc]

    def _write(self, data: bytes, *, passing: type[OSError]) -> None:
        transport, sent = self._transport, 0
        if self.is_plain and not transport.get_write_buffer_size():
            with suppress(passing):
                sent = quick_send(transport._sock, data)  # noqa: SLF001
        if sent < len(data):
            self._output_marshaled_frames([data[sent:]])

    def _output_marshaled_frames(self, marshaled_frames: list[bytes]) -> None:
        if self._burst is None:
            super()._output_marshaled_frames(marshaled_frames)  # type: ignore[misc]
        else:
            self._burst.extend(marshaled_frames)

    def drop(self) -> None:
        """Cut the connection without asking the broker, who may not be listening."""
        if not self.is_closed:
            error = pika.exceptions.ConnectionClosedByClient(200, "dropped")
            self._terminate_stream(error)  # type: ignore[attr-defined]


class Link:
    """Connects, makes sure that the exchange exists, turns confirms on, then reports `on_ready`."""

    def __init__(
        self,
        *,
        parameters: pika.connection.Parameters,
        ioloop: IOLoop,
        events: LinkEvents,
        enclose: Enclose | None = None,
    ) -> None:
        self._events = events
        self._enclose = enclose
        self._lost = False
        self.last_tag = 0
        self._ready = False
        self._exchange_missing = False
        self._channel: pika.channel.Channel
        self._connection = _Connection(
            parameters,
            on_ack=self._on_ack,
            on_open_callback=lambda _: self._open_channel(),
            on_open_error_callback=lambda _, error: self._on_lost(error),
            on_close_callback=lambda _, error: self._on_lost(error),
            custom_ioloop=ioloop,
        )
        self._connection.add_on_connection_blocked_callback(lambda *_: events.on_blocked(self, True))
        self._connection.add_on_connection_unblocked_callback(lambda *_: events.on_blocked(self, False))
        self.read = self._connection.read
        self.hold, self.send_held = self._connection.hold, self._connection.send_held

    def publish(self, message: Message) -> int:
        """Send, persistent and mandatory unless its envelope says otherwise; returns the delivery tag.

        Raises what pika raises.
        """
        if not self.is_open:
            raise pika.exceptions.ChannelWrongStateError("the channel is closed")
        if self._enclose is None:
            self._connection.publish(self._channel.channel_number, message, self._content_of(message))
        else:
            exchange, routing_key, properties, mandatory = self._enclose(message)
            self._channel.basic_publish(exchange, routing_key, message.body, properties, mandatory=mandatory)
        self.last_tag += 1
        return self.last_tag

    def content_of(self, message: Message) -> bytes | None:
        """What `send` takes; None where it cannot, and `publish` says why."""
        if self._enclose is not None or not self.is_open or not self._connection.is_plain:
            return None
        try:
            return self._content_of(message)
        except (pika.exceptions.ShortStringTooLong, UnicodeError, AttributeError, TypeError, struct.error):
            return None

    def send(self, message: Message, content: bytes) -> bool:
        """Send it under the next tag; false if some of it waits until the socket takes more. Raises `OSError`."""
        self.last_tag += 1
        self._connection.publish(self._channel.channel_number, message, content)
        return not self._connection.is_clogged

    def _content_of(self, message: Message) -> bytes:
        return self._connection.content_of(self._channel.channel_number, message)

    @property
    def is_open(self) -> bool:
        return self._connection.is_open and self._channel.is_open

    def close(self) -> None:
        """Say goodbye; `on_lost` follows when RabbitMQ has answered."""
        if not (self._connection.is_closing or self._connection.is_closed):
            self._connection.close()

    def drop(self) -> None:
        """Leave without goodbye; `on_lost` follows."""
        self._connection.drop()

    def _open_channel(self) -> None:
        self._channel = self._connection.channel(on_open_callback=self._on_channel_open)
        self._channel.add_on_close_callback(self._on_channel_closed)

    def _on_channel_open(self, channel: pika.channel.Channel) -> None:
        channel.add_on_return_callback(self._on_return)
        # Passive first: in production a producer may well write to the exchange, but not declare it.
        channel.exchange_declare(
            EXCHANGE,
            exchange_type="topic",  # type: ignore[arg-type]
            passive=not self._exchange_missing,
            durable=True,
            callback=lambda _: channel.confirm_delivery(self._on_confirm, callback=self._on_confirming),
        )

    def _on_confirming(self, _frame: Any) -> None:
        self._ready = True
        self._events.on_ready(self)

    def _on_channel_closed(self, _channel: pika.channel.Channel, reason: Exception) -> None:
        if not isinstance(reason, pika.exceptions.ChannelClosedByBroker):
            return  # the connection closes, and reports that itself
        if self._ready:
            self._events.on_channel_closed(self, reason.reply_code, reason.reply_text)
        elif reason.reply_code == NOT_FOUND and not self._exchange_missing:
            self._exchange_missing = True
            self._open_channel()
        else:
            self._on_lost(reason)
            self.close()

    def _on_lost(self, error: str | BaseException) -> None:
        if not self._lost:
            self._lost = True
            self._events.on_lost(self, error if isinstance(error, BaseException) else ConnectionError(error))

    def _on_ack(self, ack: Ack) -> None:
        self._events.on_confirm(self, ack.tag, multiple=ack.multiple, accepted=True)

    def _on_confirm(self, frame: Any) -> None:
        method = frame.method
        self._events.on_confirm(
            self,
            method.delivery_tag,
            multiple=method.multiple,
            accepted=method.INDEX == pika.spec.Basic.Ack.INDEX,
        )

    def _on_return(self, _channel: object, _method: Any, properties: pika.BasicProperties, _body: bytes) -> None:
        self._events.on_return(self, properties.message_id or "", properties.type or "")
