"""Confirmed publishes by threads that share a connection, and nothing else: the frames are made beforehand."""

from __future__ import annotations

import select
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pika

from penstock.producers.client.message_frames import ACK_BYTES, content_frames, read_ack
from penstock.producers.client.quick_send import quick_send
from penstock.schemas.message import EXCHANGE

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from typing import Any

    from penstock.schemas import Message

BODY_BYTES_MAX = 100_000


@contextmanager
def bare_threads(url: str, message: Message, *, threads: int) -> Iterator[Callable[[int], None]]:
    """What publishes the same message so many times, connected: each thread sends and waits for a lock, which one more
    thread lets go of when it has read the confirm. No envelope, no receipt, no retries, no deadline.
    """
    with pika.BlockingConnection(pika.URLParameters(url)) as connection, ThreadPoolExecutor(threads) as pool:
        channel = connection.channel()
        channel.confirm_delivery()
        start = pika.spec.Basic.Publish(exchange=EXCHANGE, routing_key=message.type, mandatory=True)
        content = content_frames(channel.channel_number, message, body_bytes_max=BODY_BYTES_MAX)
        frames = pika.frame.Method(channel.channel_number, start).marshal() + content
        implementation: Any = vars(connection)["_impl"]  # pika gives its socket to nobody
        line = _Line(implementation._transport._sock, frames)  # noqa: SLF001
        reader = threading.Thread(target=line.read, daemon=True)
        reader.start()

        def publish(publishes: int) -> None:
            left = iter(range(publishes))
            list(pool.map(line.publish_all, [left] * threads))

        try:
            yield publish
        finally:
            line.is_over = True
            reader.join()


class _Line:
    """A socket that threads take turns to send on."""

    def __init__(self, connected: socket.socket, frames: bytes) -> None:
        self.is_over = False
        self._socket = connected
        self._frames = frames
        self._turn = threading.Lock()
        self._tag = 0
        self._waiting: dict[int, threading.Lock] = {}

    def publish_all(self, left: Iterator[int]) -> None:
        confirmed = threading.Lock()
        confirmed.acquire()
        for _ in left:
            with self._turn:
                self._tag += 1
                self._waiting[self._tag] = confirmed
                quick_send(self._socket, self._frames)
            confirmed.acquire()

    def read(self) -> None:
        data = b""
        with select.epoll() as poller:
            poller.register(self._socket, select.EPOLLIN)
            while not self.is_over:
                if poller.poll(0.1):
                    data = self._wake(data + self._socket.recv(64 * 1024))

    def _wake(self, data: bytes) -> bytes:
        """All whose confirm is in it; returns what is left of it."""
        at = 0
        while (ack := read_ack(data, at)) is not None:
            at += ACK_BYTES
            for tag in [it for it in list(self._waiting) if it <= ack.tag] if ack.multiple else [ack.tag]:
                self._waiting.pop(tag).release()
        return data[at:]
