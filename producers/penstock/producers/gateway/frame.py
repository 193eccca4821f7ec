"""Around every request: its id, the headers that harden the answer, one line in the log, the metrics."""

import asyncio
import contextlib
import re
import time
import traceback
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penstock.producers.gateway.metrics import GatewayMetrics
from penstock.producers.gateway.problems import Problem
from penstock.schemas.identifiers import new_job_id

HARDENING = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
DROP_SECONDS_MAX = 20.0
DROPPED_BYTES_MAX = 128 * 1024 * 1024
NO_ROUTE = "(none)"
QUIET = ("/metrics", "/healthz", "/readyz")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class Frame:
    """The outermost layer. Neither bodies nor query strings nor credentials pass into the log."""

    def __init__(self, app: ASGIApp, *, metrics: GatewayMetrics, log: Any) -> None:
        self._app = app
        self._metrics = metrics
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        question = _Question(scope, receive)
        answer = _Answer(_request_id(scope), state, send, question)
        state["request_id"] = answer.request_id
        started = time.perf_counter()
        try:
            await self._app(scope, question.receive, answer.send)
        except Exception as error:
            # Its text may quote a payload.
            frame = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{frame.filename}:{frame.lineno}"
            self._log.error("gateway failed", request_id=answer.request_id, error=type(error).__name__, where=where)
            if answer.status is None:
                problem = _failure()
                state["problem"] = problem.code
                await problem.response()(scope, question.receive, answer.send)
        finally:
            self._note(scope, answer, time.perf_counter() - started)

    def _note(self, scope: Scope, answer: "_Answer", seconds: float) -> None:
        route = getattr(scope.get("route"), "path", NO_ROUTE)
        method = scope["method"] if scope["method"] in METHODS else "other"
        status = answer.status or 499  # the client went away before there was an answer
        self._metrics.answered(method=method, route=route, status=status, seconds=seconds)
        problem = scope["state"].get("problem")
        if problem is not None:
            self._metrics.refused(problem)
        if route not in QUIET:
            self._log.info(
                "request",
                request_id=answer.request_id,
                method=method,
                route=route,
                status=status,
                ms=round(seconds * 1000, 1),
                caller=scope["state"].get("caller"),
                **({} if problem is None else {"problem": problem}),
            )


class _Question:
    """The request's body, of which nobody may have wanted anything."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        self._is_whole = False
        self._is_promised = any(name == b"expect" for name, _ in scope["headers"])

    async def receive(self) -> Message:
        message = await self._receive()
        self._is_whole = not message.get("more_body", False)
        return message

    async def drop(self) -> bool:
        """Read on and forget: who still sends does not hear the answer. False: there is too much, or too slow."""
        if self._is_promised and not self._is_whole:
            return False
        dropped = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DROP_SECONDS_MAX):
                while not self._is_whole and dropped <= DROPPED_BYTES_MAX:
                    dropped += len((await self.receive()).get("body", b""))
        return self._is_whole


class _Answer:
    """Adds the headers to what is sent, and remembers the status."""

    def __init__(self, request_id: str, state: dict[str, Any], send: Send, question: _Question) -> None:
        self.request_id = request_id
        self._state = state
        self.status: int | None = None
        self._send = send
        self._question = question

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            if "connection" not in headers and not await self._question.drop():
                headers["Connection"] = "close"
            headers["X-Request-Id"] = self.request_id
            for name, value in (HARDENING | self._state.get("headers", {})).items():
                headers[name] = value
        await self._send(message)


def _request_id(scope: Scope) -> str:
    """The caller's, if it is a plain one."""
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    return given.decode() if _REQUEST_ID.fullmatch(given) else new_job_id()


def _failure() -> Problem:
    detail = "the gateway itself failed; its log has more under this request's id. Sending it again may help"
    return Problem(500, "failure", "The gateway failed", detail)
