"""One connection: its head must come whole, soon and small; there is room for so many."""

import asyncio
from typing import Any, NoReturn

import msgspec
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from penstock.producers.gateway.frame import HARDENING
from penstock.producers.gateway.metrics import GatewayMetrics
from penstock.producers.gateway.problems import MEDIA_TYPE, Problem

HEAD_BYTES_MAX = 32 * 1024
HEAD_SECONDS_MAX = 10.0
CONNECTIONS_MAX = 1000
# Requests that a client sends before it has the answers to earlier ones.
PIPELINED_MAX = 32
# A chunk of one byte comes in six; a sender of such chunks is slow, but no attacker.
CHUNKED_BYTES = 9

_TOO_LARGE = Problem(
    431, "head-too-large", "The head is too large", f"send at most {HEAD_BYTES_MAX} bytes of path and headers"
)
_TOO_SLOW = Problem(408, "too-slow", "The head came too slowly", f"send it within {HEAD_SECONDS_MAX:g} s")
_UNREADABLE = Problem(400, "malformed", "The request cannot be read", "this is not HTTP/1.1 as RFC 9112 has it")
_AHEAD = Problem(
    400, "pipelined", "Too many requests at once", f"send at most {PIPELINED_MAX} before you read their answers"
)
_UPGRADE = Problem(400, "upgrade", "No other protocol", "this is HTTP/1.1 only; send bodies without the header Upgrade")
_FULL = Problem(503, "full", "Too many connections", "try again a little later", headers={"Retry-After": "2"})
_BODY = (b"content-length", b"transfer-encoding")


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, in which all that is held before anybody has looked at it is bounded.

    A head, in time and size; what comes beside the bytes of a body (trailers, chunk extensions); what is sent ahead of
    answers. Bodies themselves are bounded where they are read.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        metrics: GatewayMetrics,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._metrics = metrics
        self._head_timer: asyncio.TimerHandle | None = None
        self._surplus_bytes = 0  # that have come, and are neither body nor a head that is complete
        self._is_receiving = False  # between the head of a request and the end of its body
        self._is_ending = False
        self._refusal = _UNREADABLE

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._metrics.connections.inc()
        if len(self.connections) > CONNECTIONS_MAX:
            self._refuse(_FULL)
        else:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_has_come()
        self._metrics.connections.dec()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing() or self._is_ending:
            return
        if self._is_idle():
            self._expect_head()
        self._surplus_bytes += len(data)
        super().data_received(data)
        if self._surplus_bytes <= HEAD_BYTES_MAX or self.transport.is_closing():
            return
        if self._is_answering():
            self.flow.pause_reading()  # until the answer is out
        else:
            self._refuse(_TOO_LARGE)

    def on_headers_complete(self) -> None:
        self._head_has_come()
        self._surplus_bytes = 0
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEAD_BYTES_MAX:
            self._give_up(_TOO_LARGE)
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1 or (hosts == 0 and self.parser.get_http_version() != "1.0"):
            self._give_up(_UNREADABLE)  # which of them would be checked, and which used?
        if len(self.pipeline) >= PIPELINED_MAX:
            self._give_up(_AHEAD)
        if self.parser.should_upgrade() and any(name in _BODY for name, _ in self.headers):
            self._give_up(_UPGRADE)  # the parser would take the body for the other protocol
        self._is_receiving = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._surplus_bytes = max(0, self._surplus_bytes - CHUNKED_BYTES * len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._surplus_bytes = 0
        self._is_receiving = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.pipeline:
            self.flow.pause_reading()

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refusal)

    def _give_up(self, problem: Problem) -> NoReturn:
        """The parser turns any exception into a call of `send_400_response`."""
        self._refusal = problem
        raise ValueError(problem.code)

    def _is_idle(self) -> bool:
        """Whether what comes next must be a head."""
        return self._head_timer is None and (self.cycle is None or self.cycle.response_complete)

    def _is_answering(self) -> bool:
        """Whether the last request has come whole and has no answer yet."""
        return self.cycle is not None and not self._is_receiving and not self.cycle.response_complete

    def _expect_head(self) -> None:
        self._surplus_bytes = 0
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
        """Answer and hang up. Whoever has asked for something before gets that answer first, and no other."""
        self._head_has_come()
        self._metrics.refused(problem.code)
        if self._is_answering():
            self._is_ending = True
            self.cycle.keep_alive = False
        elif self.pipeline or (self.cycle is not None and self._is_receiving and self.cycle.response_started):
            self.transport.close()
        else:
            self._answer(problem)

    def _answer(self, problem: Problem) -> None:
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
