"""A connection to RabbitMQ for those who consume. Nothing else of the workers goes below pika's public interface."""

from __future__ import annotations

from typing import Any

import pika.spec
from pika.adapters.select_connection import SelectConnection

from penstock.workers.delivery_frames import Delivered, Not, read_delivery, read_unreadable_header

READ_BYTES = 64 * 1024


class Connection(SelectConnection):
    """Reads deliveries in one go, and everything else as pika does.

    Of the `method` that a consumer is given, only `consumer_tag` and `delivery_tag` mean something. The properties are
    None if they cannot be read: pika would end the connection, and so the next one, with the same message.
    """

    _frame_buffer: bytes
    _channels: dict[int, Any]
    _transport: Any
    bytes_received: int
    frames_received: int

    @property
    def files(self) -> list[int]:
        """The descriptor of its socket, while there is one."""
        transport = self._transport
        return [] if transport is None or transport._sock is None else [transport._sock.fileno()]  # noqa: SLF001

    def cut(self, error: BaseException) -> None:
        """End it without a goodbye, which might wait for its answer for ever; pika does so when it misses heartbeats.

        The loop has to go on, or to be started again, for that to happen.
        """
        if not self.is_closed:
            self._terminate_stream(error)  # type: ignore[attr-defined]

    def _proto_connection_made(self, transport: Any) -> None:
        # Each read lets go of the interpreter's lock, and pika's own is of 4 KiB.
        transport._MAX_RECV_BYTES = READ_BYTES  # noqa: SLF001
        super()._proto_connection_made(transport)  # type: ignore[misc]

    def _on_data_available(self, data_in: bytes) -> None:
        data, at = self._frame_buffer + data_in, 0
        while at < len(data):
            found = read_delivery(data, at)
            if isinstance(found, Delivered) and self._give(found):
                self.bytes_received += found.end - at  # by these pika knows that the connection lives
                self.frames_received += found.frames
                at = found.end
                continue
            self._frame_buffer = data[at:]
            if found is Not.WHOLE or not self._read_one():
                return
            data, at = self._frame_buffer, 0
        self._frame_buffer = b""

    def _give(self, delivery: Delivered) -> bool:
        """Whether there was a consumer; if not, pika knows what to do."""
        channel = self._channels.get(delivery.channel)
        consumer = None if channel is None else channel._consumers.get(delivery.consumer_tag)  # noqa: SLF001
        if consumer is None or delivery.consumer_tag in channel._cancelled:  # type: ignore[union-attr]  # noqa: SLF001
            return False
        method = pika.spec.Basic.Deliver(delivery.consumer_tag, delivery.delivery_tag)
        consumer(channel, method, delivery.properties, delivery.body)
        return True

    def _read_one(self) -> bool:
        """Read one frame as pika does; false when a part of it is missing."""
        try:
            consumed, frame = self._read_frame()  # type: ignore[attr-defined]
        except Exception:
            if (header := read_unreadable_header(self._frame_buffer)) is None:
                raise
            consumed, frame = header
        if frame:
            self._trim_frame_buffer(consumed)  # type: ignore[attr-defined]
            self._process_frame(frame)  # type: ignore[attr-defined]
        return bool(frame)
