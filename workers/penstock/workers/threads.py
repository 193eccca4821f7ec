"""The threads that run handlers: a loop without locks, hooks or per-job wake-ups of its own."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Any

from penstock.ledger.failpoints import Failpoint, reach
from penstock.ledger.settlement import Outcome
from penstock.ledger.state import State
from penstock.workers.execution import Settled
from penstock.workers.metrics import waited_seconds

if TYPE_CHECKING:
    from penstock.ledger.admission import Claim
    from penstock.workers.board import Page
    from penstock.workers.entry import Entry
    from penstock.workers.execution import Executor
    from penstock.workers.holding import Holding
    from penstock.workers.intake import Intake
    from penstock.workers.metrics import Metrics
    from penstock.workers.settler import Settler

# A coroutine is stopped at its deadline from inside; only if it cannot be is its process given up.
ASYNC_GRACE_SECONDS = 2.0


class WorkerThread(threading.Thread):
    """One handler at a time, noted on the board before it starts."""

    def __init__(
        self,
        number: int,
        *,
        holding: Holding,
        intake: Intake,
        settler: Settler[Any],
        writing_settler: Settler[Any],
        executor: Executor,
        metrics: Metrics,
        page: Page,
    ) -> None:
        super().__init__(name=f"worker-{number}", daemon=True)
        self.number = number
        self._holding = holding
        self._intake = intake
        self._settler = settler
        self._writing_settler = writing_settler
        self._executor = executor
        self._metrics = metrics
        self._page = page

    def run(self) -> None:
        ready, room = self._holding.ready, self._intake.room
        while True:
            if ready.empty():
                room.set()
            item = ready.get()
            if item is None:
                return
            claim, entry, self._holding.taken_at = item
            if self._holding.may_start():
                self._run_one(claim, entry)
            else:
                self._holding.handed_back += 1
                self._settler.put(Outcome(claim.id, claim.token, State.AVAILABLE, counts=False))

    def _run_one(self, claim: Claim, entry: Entry) -> None:
        number, page, holding = self.number, self._page, self._holding
        waited = waited_seconds(claim)
        started = time.monotonic()
        holding.started[number] += 1
        seconds = entry.contract.timeout_seconds
        if entry.is_async:
            seconds += ASYNC_GRACE_SECONDS
        page.start(number, claim.id, claim.token, started=started, deadline=started + seconds)
        reach(Failpoint.STARTED)
        outcome = self._executor.execute(claim, entry)
        reach(Failpoint.RETURNED)
        settler = self._settler
        if not isinstance(outcome, Settled) and outcome.writes is not None:
            settler = self._writing_settler
            settler.start()
        waits = entry.contract.guarantee == "at_most_once" and not isinstance(outcome, Settled)
        if waits and not isinstance(outcome, Settled):
            # Until its outcome is durable the board must say that it has started: whoever finds this process dead
            # would otherwise let it run again. It has returned, so that no deadline applies to it any more.
            page.start(number, claim.id, claim.token, started=started, deadline=math.inf)
            settler.put_and_wait(outcome)
        page.finish(number)
        holding.finished[number] += 1
        self._metrics.samples.append((claim.queue, claim.type, waited, time.monotonic() - started))
        if isinstance(outcome, Settled):
            holding.claims.pop(claim.id, None)
            self._metrics.completed_by_handler(claim, fenced=outcome.fenced)
        elif not waits:
            settler.put(outcome)
