"""The process that runs dispatcher, scheduler and rescuer: inside `penstock worker`, or as `penstock dispatch`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from penstock.ledger.database import Ledger
from penstock.workers import board
from penstock.workers.caretaker_metrics import CaretakerMetrics
from penstock.workers.dispatcher import Dispatcher
from penstock.workers.metric_files import MetricFiles
from penstock.workers.metrics import Metrics
from penstock.workers.replier import Replier
from penstock.workers.rescuer import Rescuer
from penstock.workers.scheduler import Scheduler

if TYPE_CHECKING:
    from pathlib import Path

    from penstock.workers.board import Page

TICK_SECONDS = 1.0
HEALTHY_SECONDS = 5.0


class Caretaker:
    """Dispatches (where there is a broker), fires schedules, rescues and prunes until it is told to stop."""

    def __init__(
        self,
        *,
        database_url: str,
        broker_url: str,
        metrics_dir: Path,
        slot: str,
        page: Page | None,
        log: Any,
    ) -> None:
        self.stop_requested = threading.Event()
        self._page = page
        self._log = log
        files = MetricFiles(metrics_dir, slot)
        care = CaretakerMetrics(files)
        ledger = Ledger(database_url, announces=broker_url == "local")
        self._scheduler = Scheduler(ledger, metrics=care, log=log)
        self._dispatcher: Dispatcher | None = None
        self._replier: Replier | None = None
        if broker_url != "local":
            self._replier = Replier(ledger, broker_url=broker_url, log=log)
            self._dispatcher = Dispatcher(ledger, broker_url=broker_url, metrics=care, log=log)
        self._rescuer = Rescuer(ledger, metrics=Metrics(files), care=care, counts_due=self._dispatcher is None, log=log)

    def run(self) -> int:
        """Returns the exit status."""
        if self._dispatcher is not None:
            self._dispatcher.start()
        if self._replier is not None:
            self._replier.start()
        self._rescuer.start()
        self._scheduler.start()
        if self._page is not None:
            self._page.state = board.RUNNING
        self._log.info("dispatching", broker=self._dispatcher is not None)
        while not self.stop_requested.wait(TICK_SECONDS):
            if self._page is not None and self._is_healthy:
                self._page.prove_health(for_seconds=HEALTHY_SECONDS)
        self._scheduler.stop()
        self._rescuer.stop()
        if self._replier is not None:
            self._replier.stop()
        if self._dispatcher is not None:
            self._dispatcher.stop()
        return 0

    def request_stop(self) -> None:
        self.stop_requested.set()

    @property
    def _is_healthy(self) -> bool:
        dispatches = self._dispatcher is None or self._dispatcher.is_healthy
        return dispatches and self._scheduler.is_healthy and self._rescuer.is_healthy
