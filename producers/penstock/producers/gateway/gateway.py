"""The parts of a gateway, put together."""

import asyncio
from typing import Any

from penstock.ledger.database import Ledger
from penstock.producers.gateway.acceptance import BATCH_JOBS_MAX, PATIENCE_SECONDS, Acceptance
from penstock.producers.gateway.catalogue import Catalogue
from penstock.producers.gateway.entrance import Entrance
from penstock.producers.gateway.guard import Guard
from penstock.producers.gateway.health import Health
from penstock.producers.gateway.keyring import KeyRing
from penstock.producers.gateway.metrics import GatewayMetrics
from penstock.producers.gateway.questions import Questions
from penstock.producers.gateway.rates import Rates
from penstock.producers.gateway.reading import Buffers
from penstock.producers.gateway.settings import GatewaySettings
from penstock.producers.gateway.spare import SpareDoor
from penstock.producers.gateway.tokens import Tokens
from penstock.producers.gateway.watch import Watch

PATIENCE_SECONDS_WITH_SPARE = 1.0


class Gateway:
    """What the routes are made of. `start` and `close` run on the event loop."""

    def __init__(
        self,
        settings: GatewaySettings,
        catalogue: Catalogue,
        *,
        asks_credentials: bool,
        patience_seconds: float | None = None,
        batch_jobs_max: int = BATCH_JOBS_MAX,
        log: Any,
    ) -> None:
        ledger = Ledger(settings.database_url)
        self.settings = settings
        self.catalogue = catalogue
        self.log = log
        self.metrics = GatewayMetrics()
        self.buffers = Buffers()
        self.questions = Questions(ledger)
        self.guard = _guard(settings, self.questions, log=log) if asks_credentials else _open_guard(settings, log=log)
        spare = SpareDoor(settings.broker_url, log=log) if settings.accept_into_broker and settings.has_broker else None
        if patience_seconds is None:
            patience_seconds = PATIENCE_SECONDS if spare is None else PATIENCE_SECONDS_WITH_SPARE
        self.acceptance = Acceptance(
            ledger,
            batch_jobs_max=batch_jobs_max,
            patience_seconds=patience_seconds,
            observe=self.metrics.committed,
            log=log,
        )
        self.entrance = Entrance(self.acceptance, self.questions, spare=spare, log=log)
        self.watch = Watch(self.questions, log=log)
        self.health = Health(self.acceptance, spare=spare, stopping=self.watch.stopping)
        self.metrics.ready.set_function(lambda: float(self.health.judge("/readyz")[0]))

    async def start(self) -> None:
        self.acceptance.start()
        self.health.loop = asyncio.get_running_loop()

    def stop_waiting(self) -> None:
        """The gateway will end: nobody waits for a job any longer, and readiness says no."""
        self.watch.stop()

    async def close(self) -> None:
        """Everything that was taken in becomes durable first."""
        self.stop_waiting()
        self.health.loop = None
        await asyncio.to_thread(self.acceptance.close)
        self.questions.close()
        if self.entrance.spare is not None:
            await asyncio.to_thread(self.entrance.spare.close)
        await self.guard.close()


def _guard(settings: GatewaySettings, questions: Questions, *, log: Any) -> Guard:
    """API keys always; tokens where the provider is known."""
    tokens = None
    if settings.jwks_url and settings.jwt_issuer and settings.jwt_audience:
        tokens = Tokens(
            jwks_url=settings.jwks_url,
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
            tenant_claim=settings.jwt_tenant_claim,
            log=log,
        )
    return Guard(keys=KeyRing(questions, log=log), tokens=tokens, rates=_rates(settings, log=log))


def _open_guard(settings: GatewaySettings, *, log: Any) -> Guard:
    return Guard(keys=None, tokens=None, rates=_rates(settings, log=log))


def _rates(settings: GatewaySettings, *, log: Any) -> Rates:
    return Rates(per_minute=settings.rate_per_minute, redis_url=settings.redis_url, gateways=settings.sharing, log=log)
