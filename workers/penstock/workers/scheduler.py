"""The scheduler: the ticks of schedules become jobs. It runs beside dispatcher and rescuer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from penstock.ledger.database import LedgerUnavailable
from penstock.ledger.schedules import due_schedules
from penstock.producers.schedules.firing import fire
from penstock.schemas import KeyringError
from penstock.workers.loop import Loop

if TYPE_CHECKING:
    from penstock.ledger.database import Ledger, Session
    from penstock.schemas import Keyring
    from penstock.workers.caretaker_metrics import CaretakerMetrics

LOOK_SECONDS = 0.5
HEALTHY_SECONDS = 30.0
# A schedule that cannot be read must not hold up the others, nor fill the log.
STUMBLE_SECONDS = 60.0


class Scheduler(Loop):
    """A tick fires once, whichever scheduler comes first."""

    def __init__(self, ledger: Ledger, *, metrics: CaretakerMetrics, log: Any, keyring: Keyring | None = None) -> None:
        """`keyring` is for schedules with sensitive fields; one that has none leaves them to another scheduler."""
        super().__init__(ledger, name="scheduler", healthy_seconds=HEALTHY_SECONDS, log=log)
        self._keyring = keyring
        self._metrics = metrics
        self._stumbled: dict[str, float] = {}

    def _pass(self, session: Session) -> float:
        for name in due_schedules(session):
            if self._stumbled.get(name, 0.0) > time.monotonic():
                continue
            try:
                fired = fire(session, name, keyring=self._keyring)
            except (DBAPIError, LedgerUnavailable):
                raise
            except KeyringError as error:
                self._stumbled[name] = time.monotonic() + STUMBLE_SECONDS
                self._log.error("a schedule cannot fire here; the others go on", schedule=name, detail=str(error))
                continue
            except Exception:
                self._stumbled[name] = time.monotonic() + STUMBLE_SECONDS
                self._log.exception("a schedule cannot fire; the others go on", schedule=name)
                continue
            if fired is not None:
                self._metrics.fired(name, jobs=len(fired.ticks), late=fired.is_late)
                say = self._log.warning if fired.is_late else self._log.info
                say("ticks came late" if fired.is_late else "a tick", schedule=name, job_ids=fired.job_ids)
        return LOOK_SECONDS
