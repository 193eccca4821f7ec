"""A way to a server that fails as networks do: late, silent, cut off, half closed."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

CHUNK_BYTES = 65536
UNANSWERED_SECONDS = 0.3  # so long a server has for what it was asked last, before it hears of the end
RESET = struct.pack("ii", 1, 0)  # to linger for no time: closing sends RST


@dataclass
class Way:
    """What happens to bytes in one direction."""

    delay_seconds: float = 0.0
    is_blackholed: bool = False
    bytes_left: int | None = None  # after so many more the connection is reset
    last_words: bytes | None = None  # what has these bytes in it is carried, and nothing more either way
    is_reset_after: bool = True  # or else the connection only falls silent
    carried: int = 0


@dataclass(eq=False)
class Carried:
    """One connection of a client, with its own to the server."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    is_silent: bool = False

    def close(self) -> None:
        """Both ends hear goodbye."""
        self.client.close()
        self.server.close()

    def reset(self) -> None:
        """Both ends learn that it is gone."""
        for writer in (self.client, self.server):
            open_socket = writer.get_extra_info("socket")
            if open_socket is not None and open_socket.fileno() >= 0:
                open_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()


class Proxy:
    """`with Proxy(url) as proxy:` forwards what comes to `proxy.url`; faults hold until `heal()`.

    Its loop runs in a thread of its own. `to_server` and `to_client` are the two directions.
    """

    def __init__(self, url: str) -> None:
        self.direct_url = url
        self._parts = urlsplit(url)
        self.to_server, self.to_client = Way(), Way()
        self.is_refusing = False
        self.upstreams = [(self._parts.hostname or "127.0.0.1", self._parts.port or 5672)]
        self.accepted = 0
        self._connections: list[Carried] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """The address by which the server is reached through here."""
        user, _, _ = self._parts.netloc.rpartition("@")
        address = f"127.0.0.1:{self.port}"
        return self._parts._replace(netloc=f"{user}@{address}" if user else address).geturl()

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def silence(self) -> None:
        """The connections of now carry nothing any more, and do not close, as when a firewall forgets them."""
        self._on_each(lambda carried: setattr(carried, "is_silent", True))

    def reset(self) -> None:
        """The connections of now are reset; new ones work."""
        self._on_each(Carried.reset)

    def drop(self) -> None:
        """The connections of now are closed in an orderly way."""
        self._on_each(Carried.close)

    def half_close(self) -> None:
        """The server hears that the clients of now will say no more; what it still says is carried."""
        self._on_each(lambda carried: carried.server.write_eof())

    def heal(self) -> None:
        """Carry everything again; what is silent now is reset, as it would be by the first packet after a cure."""
        self.to_server, self.to_client, self.is_refusing = Way(), Way(), False
        self._on_each(lambda carried: carried.reset() if carried.is_silent else None)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._wait(asyncio.start_server(self._accept, "127.0.0.1", 0))
        return self

    def __exit__(self, *error: object) -> None:
        self._wait(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        for carried in list(self._connections):
            carried.reset()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, from_client: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self.accepted += 1
        reached = None if self.is_refusing else await self._reach_server()
        if reached is None:
            client.transport.abort()
            return
        from_server, server = reached
        carried = Carried(client, server)
        self._connections.append(carried)
        carried.tasks = [
            asyncio.create_task(self._carry(carried, from_client, server, lambda: self.to_server)),
            asyncio.create_task(self._carry(carried, from_server, client, lambda: self.to_client)),
        ]
        with contextlib.suppress(asyncio.CancelledError):  # we are being closed
            await asyncio.gather(*carried.tasks, return_exceptions=True)
        self._connections.remove(carried)
        carried.close()

    async def _reach_server(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """The first upstream that answers."""
        for host, port in self.upstreams:
            try:
                return await asyncio.open_connection(host, port)
            except OSError:
                continue
        return None

    async def _carry(
        self, carried: Carried, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Callable[[], Way]
    ) -> None:
        try:
            while data := await reader.read(CHUNK_BYTES):
                now = way()
                if now.delay_seconds:
                    await asyncio.sleep(now.delay_seconds)
                if carried.is_silent or now.is_blackholed:
                    carried.is_silent = True  # a gap in a stream can never be closed again
                    continue
                if now.bytes_left is not None:
                    data = data[: now.bytes_left]
                    now.bytes_left -= len(data)
                writer.write(data)
                await writer.drain()
                now.carried += len(data)
                if now.bytes_left == 0:
                    carried.reset()
                elif now.last_words is not None and now.last_words in data:
                    now.last_words = None
                    await self._end_unanswered(carried, is_reset=now.is_reset_after)
            if writer.can_write_eof():
                writer.write_eof()
        except OSError:
            carried.reset()

    async def _end_unanswered(self, carried: Carried, *, is_reset: bool) -> None:
        """The server has read it and does it; its answer, and everything after it, is lost."""
        carried.is_silent = True
        if is_reset:
            await asyncio.sleep(UNANSWERED_SECONDS)
            carried.reset()

    def _on_each(self, act: Callable[[Carried], object]) -> None:
        async def run() -> None:
            for carried in list(self._connections):
                act(carried)

        self._wait(run())

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)
