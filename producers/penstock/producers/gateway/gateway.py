"""The parts of a gateway, put together."""

import asyncio
from typing import Any

from penstock.ledger.database import Ledger
from penstock.producers.gateway.acceptance import BATCH_JOBS_MAX, Acceptance
from penstock.producers.gateway.catalogue import Catalogue
from penstock.producers.gateway.entrance import Entrance
from penstock.producers.gateway.guard import Guard
from penstock.producers.gateway.metrics import GatewayMetrics
from penstock.producers.gateway.questions import Questions
from penstock.producers.gateway.reading import Buffers
from penstock.producers.gateway.settings import GatewaySettings
from penstock.producers.gateway.watch import Watch


class Gateway:
    """What the routes are made of. `start` and `close` run on the event loop."""

    def __init__(
        self,
        settings: GatewaySettings,
        catalogue: Catalogue,
        *,
        guard: Guard,
        batch_jobs_max: int = BATCH_JOBS_MAX,
        log: Any,
    ) -> None:
        ledger = Ledger(settings.database_url)
        self.settings = settings
        self.catalogue = catalogue
        self.guard = guard
        self.log = log
        self.metrics = GatewayMetrics()
        self.buffers = Buffers()
        self.questions = Questions(ledger)
        self.acceptance = Acceptance(ledger, batch_jobs_max=batch_jobs_max, observe=self.metrics.committed, log=log)
        self.entrance = Entrance(self.acceptance, self.questions, log=log)
        self.watch = Watch(self.questions, log=log)

    async def start(self) -> None:
        self.acceptance.start()

    def stop_waiting(self) -> None:
        """The gateway will end: nobody waits for a job any longer, and readiness says no."""
        self.watch.stop()

    async def close(self) -> None:
        """Everything that was taken in becomes durable first."""
        self.stop_waiting()
        await asyncio.to_thread(self.acceptance.close)
        self.questions.close()
