"""The scheduler: the ticks of schedules become jobs. It runs beside dispatcher and rescuer."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from penstock.ledger.database import LedgerUnavailable, Session
from penstock.ledger.schedules import due_schedules
from penstock.producers.schedules.firing import fire
from penstock.workers.sessions import close_quietly

if TYPE_CHECKING:
    from penstock.ledger.database import Ledger
    from penstock.workers.caretaker_metrics import CaretakerMetrics

LOOK_SECONDS = 0.5
HEALTHY_SECONDS = 30.0
# A schedule that cannot be read must not hold up the others, nor fill the log.
STUMBLE_SECONDS = 60.0


class Scheduler:
    """One thread. Any number of schedulers may run: a tick fires once, whoever comes first."""

    def __init__(self, ledger: Ledger, *, metrics: CaretakerMetrics, log: Any) -> None:
        self._ledger = ledger
        self._metrics = metrics
        self._log = log
        self._session: Session | None = None
        self._stumbled: dict[str, float] = {}
        self._passed_at = time.monotonic()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="scheduler", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(timeout=5)

    @property
    def is_healthy(self) -> bool:
        """Whether passes end without an error, with or without a tick."""
        return time.monotonic() - self._passed_at < HEALTHY_SECONDS

    def _loop(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            try:
                if self._session is None:
                    self._session = self._ledger.session()
                self._fire_due(self._session)
                self._passed_at = time.monotonic()
            except (DBAPIError, LedgerUnavailable) as error:
                self._log.warning("no schedule fires until the ledger answers", error=type(error).__name__)
                self._drop_session()
            except Exception:
                self._log.exception("the scheduler stumbled")
                self._drop_session()
        self._drop_session()

    def _fire_due(self, session: Session) -> None:
        for name in due_schedules(session):
            if self._stumbled.get(name, 0.0) > time.monotonic():
                continue
            try:
                fired = fire(session, name)
            except (DBAPIError, LedgerUnavailable):
                raise
            except Exception:
                self._stumbled[name] = time.monotonic() + STUMBLE_SECONDS
                self._log.exception("a schedule cannot fire; the others go on", schedule=name)
                continue
            if fired is not None:
                self._metrics.fired(name, jobs=len(fired.ticks), late=fired.is_late)
                say = self._log.warning if fired.is_late else self._log.info
                say("ticks came late" if fired.is_late else "a tick", schedule=name, job_ids=fired.job_ids)

    def _drop_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            close_quietly(session)
