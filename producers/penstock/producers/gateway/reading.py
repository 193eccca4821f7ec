"""Bodies of requests: bounded in bytes, in time and in encoding before anything parses them."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import ClientDisconnect, Request

from penstock.producers.gateway.problems import Problem, busy, malformed, too_large

BODY_SECONDS_MAX = 20.0
BUFFERED_BYTES_MAX = 64 * 1024 * 1024


class Buffers:
    """The bytes of all bodies that are held at one time, bounded for the whole process."""

    def __init__(self, *, bytes_max: int = BUFFERED_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0

    @contextmanager
    def body(self) -> Iterator["Buffer"]:
        """Room for one body; given back on leaving."""
        buffer = Buffer(self)
        try:
            yield buffer
        finally:
            self._bytes -= len(buffer.data)

    def take(self, count: int) -> None:
        """Raises `Problem` when there is no room."""
        if self._bytes + count > self._bytes_max:
            raise busy("too many bytes are being received")
        self._bytes += count


class Buffer:
    """One body as it arrives."""

    def __init__(self, buffers: Buffers) -> None:
        self._buffers = buffers
        self.data = bytearray()

    def add(self, chunk: bytes) -> None:
        self._buffers.take(len(chunk))
        self.data += chunk


async def read_body(request: Request, buffer: Buffer, *, bytes_max: int) -> bytes:
    """The whole body of a request that says that it is JSON; raises `Problem`."""
    check_head(request)
    try:
        async with asyncio.timeout(BODY_SECONDS_MAX):
            await _receive(request, buffer, bytes_max=bytes_max)
    except TimeoutError:
        detail = f"the body did not arrive within {BODY_SECONDS_MAX:g} s; send it faster, or less of it"
        raise Problem(408, "too-slow", "The body came too slowly", detail, headers={"Connection": "close"}) from None
    except ClientDisconnect:
        raise malformed("the connection was closed before the whole body had arrived") from None
    return bytes(buffer.data)


async def _receive(request: Request, buffer: Buffer, *, bytes_max: int) -> None:
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > bytes_max:
        raise too_large(bytes_max)
    async for chunk in request.stream():
        if len(buffer.data) + len(chunk) > bytes_max:
            raise too_large(bytes_max)
        buffer.add(chunk)


def check_head(request: Request) -> None:
    """What the headers alone tell; raises `Problem`."""
    media_types = [it.partition(";")[0].strip().lower() for it in request.headers.getlist("content-type")]
    if media_types != ["application/json"]:
        detail = "send the body as JSON, with the header Content-Type: application/json"
        raise Problem(415, "media-type", "Not JSON", detail, errors=[("Content-Type", detail)])
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        detail = "compressed bodies are not read; send it as it is, without Content-Encoding"
        raise Problem(415, "encoding", "Compressed", detail, errors=[("Content-Encoding", detail)])
