"""The pulse of a worker process: heartbeats, the self-check, cancel requests, and the proof that it consumes.

One thread with a session of its own, so that a slow claim or settle does not make the process look dead.
"""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from penstock.ledger import claims as ledger_claims
from penstock.ledger import processes
from penstock.ledger.database import LedgerUnavailable, Session
from penstock.ledger.jobs import cancel_requested
from penstock.ledger.settlement import Outcome, settle
from penstock.ledger.state import Reason, State
from penstock.workers.sessions import close_quietly

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.ledger.database import Ledger
    from penstock.ledger.processes import Process
    from penstock.workers.board import Page
    from penstock.workers.holding import Holding
    from penstock.workers.metrics import Metrics

TICK_SECONDS = 1.0
BEAT_SECONDS = 3.0
SELF_CHECK_SECONDS = 5.0
# A process that has not been able to beat for this long starts nothing more: a rescuer may be about to act.
FRESH_SECONDS = 10.0
CANCEL_GRACE_SECONDS = 30.0
HEALTHY_SECONDS = 5.0


class Pulse:
    """Beats once per tick; `stop()` ends it."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        holding: Holding,
        metrics: Metrics,
        page: Page,
        process: Process,
        queues: list[str],
        is_healthy: Callable[[], bool],
        log: Any,
    ) -> None:
        self._ledger = ledger
        self._holding = holding
        self._metrics = metrics
        self._page = page
        self._process = process
        self._queues = queues
        self._is_healthy = is_healthy
        self._log = log
        self._session: Session | None = None
        self._beat_at = 0.0
        self._checked_at = time.monotonic()
        self._asked_at: dict[str, float] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="pulse", daemon=True)

    def start(self) -> None:
        """The process has been registered just now."""
        self._holding.fresh_until = time.monotonic() + FRESH_SECONDS
        self._thread.start()

    def stop(self) -> None:
        """Flush the metrics and take the process off the ledger's list."""
        self._stopping.set()
        self._thread.join(timeout=5)

    def _loop(self) -> None:
        while not self._stopping.wait(TICK_SECONDS):
            try:
                self._tick()
                self._show_health()
            except (DBAPIError, LedgerUnavailable) as error:
                self._log.warning("no heartbeat: the ledger does not answer", error=type(error).__name__)
                self._drop_session()
            except Exception:
                self._log.exception("the pulse stumbled")
                self._drop_session()
        self._metrics.flush()
        self._sign_off()

    def _tick(self) -> None:
        self._metrics.flush()
        if self._session is None:
            self._session = self._ledger.session()
        now = time.monotonic()
        if now - self._beat_at >= BEAT_SECONDS:
            self._beat(self._session)
            self._beat_at = now
            self._holding.fresh_until = now + FRESH_SECONDS if self._process.lock_path is None else math.inf
        if now - self._checked_at >= SELF_CHECK_SECONDS:
            self._checked_at = now
            self._check_self(self._session)
            self._page.wants_lane = ledger_claims.has_suspects(self._session, self._queues)
        self._look_for_cancels(self._session)

    def _beat(self, session: Session) -> None:
        if self._process.lock_path is None and not processes.beat(session, self._process.id):
            # A rescuer has given us up. What we ran is fenced; from now on we count as new.
            self._log.warning("this process was given up for dead and is registered again")
            processes.register(session, self._process)

    def _show_health(self) -> None:
        """Only after a tick that the ledger has answered: without it nothing is claimed and nothing settled."""
        if time.monotonic() < self._holding.fresh_until and self._is_healthy():
            self._page.prove_health(for_seconds=HEALTHY_SECONDS)

    def _check_self(self, session: Session) -> None:
        """Release what the ledger believes us to hold and we do not: a claim whose reply was lost."""
        strangers = []
        for job_id, token in ledger_claims.executing_under(session, self._process.id):
            # In this order: the intake notes a claim first, and then that its token is no more in flight.
            if token in self._holding.tokens_in_flight:
                continue
            held = self._holding.claims.get(job_id)
            if held is None or held.token != token:
                strangers.append(Outcome(job_id, token, State.AVAILABLE, counts=False))
        if strangers:
            fenced = settle(session, strangers, process_id=self._process.id)
            if len(fenced) < len(strangers):
                self._log.warning("released claims that this process does not hold", jobs=len(strangers) - len(fenced))

    def _look_for_cancels(self, session: Session) -> None:
        """Note who wants running jobs cancelled; fence those that ignore it."""
        now = time.monotonic()
        running = {it.job_id: it.token for it in self._page.running().values() if now - it.started > TICK_SECONDS}
        asked = cancel_requested(session, list(running.items()))
        self._holding.cancel_requested = asked
        self._asked_at = {job_id: self._asked_at.get(job_id, now) for job_id in asked}
        ignored = [job_id for job_id, since in self._asked_at.items() if now - since > CANCEL_GRACE_SECONDS]
        if ignored:
            outcomes = [Outcome(job_id, running[job_id], State.CANCELLED, Reason.CANCELLED) for job_id in ignored]
            fenced = settle(session, outcomes, process_id=self._process.id)
            settled = [(it, self._holding.claims.get(it.job_id)) for it in outcomes if it.job_id not in fenced]
            if settled:
                self._metrics.settled(settled, set())

    def _sign_off(self) -> None:
        try:
            if self._session is None:
                self._session = self._ledger.session()
            if not ledger_claims.executing_under(self._session, self._process.id):
                processes.deregister(self._session, self._process.id)
        except (DBAPIError, LedgerUnavailable):
            self._log.warning("could not sign off; a rescuer will clean up")
        self._drop_session()

    def _drop_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            close_quietly(session)
