"""`GET /v1/jobs/{id}/events`: server-sent events, one for each state that the job comes to."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from penstock.ledger.jobs import Standing
from penstock.producers.gateway.gateway import Gateway
from penstock.producers.gateway.showing import JobId, Showing, read_id
from penstock.producers.gateway.watch import Watched

# Proxies cut what is silent for long, and credentials may have been revoked since: the client connects again.
HEARTBEAT_SECONDS = 15.0
STREAM_SECONDS_MAX = 600.0


class Events:
    """Follows jobs."""

    def __init__(self, gateway: Gateway, showing: Showing) -> None:
        self._gateway = gateway
        self._showing = showing

    async def follow(self, request: Request, job_id: JobId) -> Response:
        """Follow a job until it has ended, as server-sent events `state`; states that pass quickly may be left out."""
        caller = await self._gateway.guard.caller_of(request)
        document = await self._showing.find(read_id(job_id), caller)
        first = Standing(document["id"], document["state"], document["reason"], document["attempts"])
        place = self._gateway.watch.over(first.id)
        watched = place.__enter__()  # here, so that a full house is said with its status
        watched.see(first)
        watched.moved.clear()

        async def told() -> AsyncIterator[bytes]:
            try:
                async for event in self._told(watched):
                    yield event
            finally:
                place.__exit__(None, None, None)

        return _Stream(told(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    async def _told(self, watched: Watched) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + STREAM_SECONDS_MAX
        yield _event(watched.standing)
        while not watched.has_ended and loop.time() < deadline:
            if await self._gateway.watch.moved(watched, seconds=HEARTBEAT_SECONDS):
                yield _event(watched.standing)
            elif self._gateway.watch.stopping.is_set():
                return
            else:
                yield b": still here\n\n"


class _Stream(StreamingResponse):
    """A client that does not read must not hold its place for ever."""

    async def stream_response(self, send: Send) -> None:
        async with asyncio.timeout(STREAM_SECONDS_MAX + HEARTBEAT_SECONDS):
            await super().stream_response(send)


def _event(standing: Standing | None) -> bytes:
    assert standing is not None
    data = {"id": standing.id, "state": standing.state, "reason": standing.reason, "attempts": standing.attempts}
    return b"event: state\ndata: " + msgspec.json.encode(data) + b"\n\n"
