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

    from penstock.schemas import Keyring
    from penstock.workers.board import Page
    from penstock.workers.loop import Loop

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
        keyring: Keyring | None,
        log: Any,
    ) -> None:
        self.stop_requested = threading.Event()
        self._page = page
        self._log = log
        self._ailing: list[str] = []
        files = MetricFiles(metrics_dir, slot)
        care = CaretakerMetrics(files)
        has_broker = broker_url != "local"
        ledger = Ledger(database_url, announces=not has_broker)
        self._loops: list[Loop] = [
            Rescuer(ledger, metrics=Metrics(files), care=care, counts_due=not has_broker, log=log),
            Scheduler(ledger, metrics=care, log=log, keyring=keyring),
        ]
        if has_broker:
            self._loops += [
                Dispatcher(ledger, broker_url=broker_url, metrics=care, log=log),
                Replier(ledger, broker_url=broker_url, metrics=care, log=log),
            ]

    def run(self) -> int:
        """Returns the exit status."""
        for loop in self._loops:
            loop.start()
        if self._page is not None:
            self._page.state = board.RUNNING
        self._log.info("dispatching", loops=[loop.name for loop in self._loops])
        while not self.stop_requested.wait(TICK_SECONDS):
            self._show_health()
        for loop in self._loops:
            loop.stop()
        return 0

    def request_stop(self) -> None:
        self.stop_requested.set()

    def _show_health(self) -> None:
        """Healthy is who makes all of its loops pass; the log says which do not."""
        ailing = [loop.name for loop in self._loops if not loop.is_healthy]
        if ailing != self._ailing:
            self._ailing = ailing
            say = self._log.warning if ailing else self._log.info
            say("loops do not pass" if ailing else "all loops pass", loops=ailing)
        if self._page is not None and not ailing:
            self._page.prove_health(for_seconds=HEALTHY_SECONDS)
