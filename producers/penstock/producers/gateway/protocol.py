"""One connection: its head must come whole, soon and small; there is room for so many."""

import asyncio
from typing import Any

import msgspec
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from penstock.producers.gateway.frame import HARDENING
from penstock.producers.gateway.problems import MEDIA_TYPE, Problem

HEAD_BYTES_MAX = 32 * 1024
HEAD_SECONDS_MAX = 10.0
CONNECTIONS_MAX = 1000

_TOO_LARGE = Problem(
    431, "head-too-large", "The head is too large", f"send at most {HEAD_BYTES_MAX} bytes of path and headers"
)
_TOO_SLOW = Problem(408, "too-slow", "The head came too slowly", f"send it within {HEAD_SECONDS_MAX:g} s")
_UNREADABLE = Problem(400, "malformed", "The request cannot be read", "this is not HTTP/1.1 as RFC 9112 has it")
_FULL = Problem(503, "full", "Too many connections", "try again a little later", headers={"Retry-After": "2"})


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, whose head is bounded in time and size. Bodies are bounded where they are read."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._refusal = _UNREADABLE

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS_MAX:
            self._refuse(_FULL)
        else:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_has_come()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._is_idle():
            self._expect_head()
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_timer is not None and self._head_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
            self._refuse(_TOO_LARGE)

    def on_headers_complete(self) -> None:
        self._head_has_come()
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEAD_BYTES_MAX:
            self._refusal = _TOO_LARGE
            raise ValueError("the head is too large")
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refusal)

    def _is_idle(self) -> bool:
        """Whether what comes next must be a head."""
        return self._head_timer is None and (self.cycle is None or self.cycle.response_complete)

    def _expect_head(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(HEAD_SECONDS_MAX, self._head_is_late)

    def _head_has_come(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self._refuse(_TOO_SLOW)

    def _refuse(self, problem: Problem) -> None:
        """Answer and hang up; nothing that was asked for on this connection is done."""
        self._head_has_come()
        body = msgspec.json.encode(problem.document)
        headers = {
            **HARDENING,
            **problem.headers,
            "Content-Type": MEDIA_TYPE,
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.transport.write(STATUS_LINE[problem.status] + lines.encode() + b"\r\n" + body)
        self.transport.close()
