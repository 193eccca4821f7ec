"""`/healthz`, `/readyz`, `/metrics`: for those who run the gateway."""

import time

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from penstock.ledger.database import Session
from penstock.producers.gateway.gateway import Gateway

ASK_SECONDS = 2.0
# Any number of probes is one question to the ledger in this time.
KEEP_SECONDS = 1.0
SILENT = "the ledger does not answer"


class Health:
    """Alive: this process answers, and its accepting thread lives.

    Ready: the ledger answered just now, or there is a spare door that works.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._asked_at = -KEEP_SECONDS
        self._reason: str | None = None

    async def alive(self, request: Request) -> Response:
        if not self._gateway.acceptance.is_alive:
            return PlainTextResponse("the accepting thread has ended\n", status_code=503)
        return PlainTextResponse("the gateway answers\n")

    async def ready(self, request: Request) -> Response:
        reason = await self._not_ready()
        if reason is None:
            return PlainTextResponse("the gateway accepts jobs\n")
        spare = self._gateway.entrance.spare
        if reason == SILENT and spare is not None and spare.works:
            return PlainTextResponse(f"{reason}; RabbitMQ takes the jobs\n")
        return PlainTextResponse(f"{reason}\n", status_code=503)

    async def metrics(self, request: Request) -> Response:
        return Response(generate_latest(self._gateway.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def _not_ready(self) -> str | None:
        if self._gateway.watch.stopping.is_set():
            return "the gateway stops"
        if not self._gateway.acceptance.is_alive:
            return "the accepting thread has ended"
        if time.monotonic() - self._asked_at >= KEEP_SECONDS:
            self._asked_at = time.monotonic()
            self._reason = await self._ask()
        return self._reason

    async def _ask(self) -> str | None:
        def ask(session: Session) -> None:
            session.connection.exec_driver_sql("SELECT 1 FROM jobs LIMIT 1")

        try:
            await self._gateway.questions.ask(ask, patience_seconds=ASK_SECONDS)
        except Exception:
            return SILENT
        return None
