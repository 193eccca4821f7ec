"""The intake that claims straight from the ledger: the transports without a broker, and the suspect lane."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from penstock.ledger import claims as ledger_claims
from penstock.ledger.failpoints import Failpoint, reach
from penstock.ledger.wakeups import Wakeups
from penstock.workers.intake import POLL_SECONDS, Intake

if TYPE_CHECKING:
    from penstock.ledger.database import Session

# Who is told of new jobs looks by itself all the same, as notifications may be lost.
IDLE_SECONDS_MAX = 1.0


class LedgerIntake(Intake):
    """Claims due rows; with `suspects`, only those that must run alone.

    On Postgres it is told when rows have come to wait, and looks by itself only now and then; otherwise it polls.
    """

    def __init__(self, *, queues: list[str], suspects: bool = False, **shared: Any) -> None:
        super().__init__(**shared)
        self._queues = queues
        self._suspects = suspects
        self._wakeups: Wakeups | None = None
        self.idle_since = time.monotonic()

    def _on_connected(self, session: Session) -> None:
        super()._on_connected(session)
        listens = session.announces and not self._suspects
        self._wakeups = Wakeups(session, listener_id=self.process_id) if listens else None

    def _turn(self, session: Session) -> None:
        capacity = self._capacity() if not self._suspects else self.holding.idle_threads
        if capacity == 0:
            self._wait_for_room()
            return
        if self._wakeups is not None:
            self._wakeups.forget()
        token = self._new_token()
        found = ledger_claims.claim_due(
            session,
            queues=self._queues,
            limit=capacity,
            token=token,
            process_id=self.process_id,
            suspects=self._suspects,
        )
        reach(Failpoint.CLAIMED)
        self._start(found)
        self.holding.tokens_in_flight.discard(token)
        self.metrics.claimed(found, knows_type=self.registry.knows_type)
        if found:
            self.idle_since = time.monotonic()
        if len(found) < capacity:
            self._hand_back_stale()
            self._wait_for_jobs(session)

    def _wait_for_jobs(self, session: Session) -> None:
        if self._wakeups is None or not self.holding.ready.empty():
            self.stopping.wait(POLL_SECONDS)
        elif not self._wakeups.promise_to_listen():
            seconds = ledger_claims.next_due_seconds(session, self._queues)
            self._wakeups.wait(idle_seconds(seconds), stopping=self.stopping)


def idle_seconds(next_due_seconds: float | None) -> float:
    """How long to wait for a notification. A job that is due and yet was not claimed is in somebody else's hands."""
    if next_due_seconds is None:
        return IDLE_SECONDS_MAX
    return min(IDLE_SECONDS_MAX, next_due_seconds) if next_due_seconds > 0 else POLL_SECONDS
