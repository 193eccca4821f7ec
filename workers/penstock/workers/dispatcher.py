"""The dispatcher: a row becomes due and is published. Outbox, delay, retry, rescue, replay and the recovery of a
lost broker are all this one thing. Duplicates that it can make are absorbed by the claim."""

from __future__ import annotations

import math
import time
import uuid
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from penstock.ledger import dispatches
from penstock.ledger.batch import BATCH_JOBS_MAX
from penstock.ledger.chore import Chore
from penstock.ledger.failpoints import Failpoint, reach
from penstock.ledger.leases import give_lease_back, take_lease
from penstock.producers.client import InvalidJob, Publisher, PublishError, PublishRefused, PublishTimeout, Unroutable
from penstock.producers.client.pauses import Pauses
from penstock.workers import topology
from penstock.workers.lookout import Lookout
from penstock.workers.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from penstock.ledger.database import Ledger, Session
    from penstock.ledger.dispatches import Due
    from penstock.producers.client import Batch
    from penstock.workers.caretaker_metrics import CaretakerMetrics

# RabbitMQ must never be a second backlog: at most so many rows of a queue are dispatched and not yet claimed.
WINDOW_JOBS = 1000
SENT_BATCHES_MAX = 4  # of so many queues' jobs the confirms are waited for at a time
IDLE_SECONDS = 0.1
COUNT_SECONDS = 1.0
# To count what is due takes at most this part of the time, however much it is.
COUNTING_SHARE = 0.02
# But the rules of Prometheus take counts of a minute ago for those of somebody who does not lead any more.
COUNT_SECONDS_MAX = 20.0
LOST_CHECK_SECONDS = 5.0
# A delivery may be held unclaimed by a worker for a second or two; a queue must stay empty for longer than that.
LOST_AFTER_SECONDS = 10.0
OVERDUE_CHECK_SECONDS = 30.0
LEASE_NAME = "dispatcher"
LEASE_SECONDS = 5.0
PUBLISH_SECONDS = 10.0
RETRY_PUBLISH_SECONDS = 1.0  # a queue that took nothing the last time must not hold up the others for as long again


class _Sent(NamedTuple):
    """What was sent to a queue, and is being confirmed."""

    queue: str
    due: list[Due]
    batch: Batch


class Dispatcher(Loop):
    """The lease only saves double work: two dispatchers that both believe to lead do no harm."""

    def __init__(self, ledger: Ledger, *, broker_url: str, metrics: CaretakerMetrics, log: Any) -> None:
        super().__init__(ledger, name="dispatcher", healthy_seconds=3 * PUBLISH_SECONDS, log=log)
        self._broker_url = broker_url
        self._metrics = metrics
        self._id = str(uuid.uuid4())
        self._publisher = Publisher(broker_url, name="penstock-dispatcher", timeout_seconds=PUBLISH_SECONDS)
        self._lookout = Lookout(broker_url, name="penstock-dispatcher")
        self._pauses = Pauses()
        self._counting = Chore(share=COUNTING_SHARE, rest_seconds_max=COUNT_SECONDS_MAX)
        self._lost_at = self._overdue_at = self._lease_at = -1e9
        self._leads = False
        self._empty: set[str] = set()
        self._missing_since: dict[str, float] = {}  # by queue
        self._answered_at = time.monotonic()

    def stop(self, *, timeout_seconds: float = PUBLISH_SECONDS + 5) -> None:
        super().stop(timeout_seconds=timeout_seconds)
        self._publisher.close(timeout_seconds=2)
        self._lookout.close()

    @property
    def is_healthy(self) -> bool:
        """Whether passes end without an error, and RabbitMQ answers whoever leads."""
        return super().is_healthy and time.monotonic() - self._answered_at < self._healthy_seconds

    def _pass(self, session: Session) -> float:
        """One look at every queue that has something due."""
        now = time.monotonic()
        if now - self._lease_at > LEASE_SECONDS / 3:
            self._leads = take_lease(session, name=LEASE_NAME, holder=self._id, seconds=LEASE_SECONDS)
            self._lease_at = now
        if not self._leads:
            self._answered_at = now
            self._lookout.close()
            return LEASE_SECONDS / 5
        if self._counting.is_due(every_seconds=COUNT_SECONDS):
            with self._counting:
                self._metrics.due(dispatches.due_queues(session))
        if now - self._overdue_at > OVERDUE_CHECK_SECONDS:
            self._overdue_at = now
            self._warn(dispatches.suspect_overdue(session), "dispatched long ago and not claimed: dispatched again")
        if now - self._lost_at > LOST_CHECK_SECONDS:
            self._lost_at = now
            self._look_for_lost(session)
        dispatched = self._dispatch_all(session)
        self._metrics.dispatcher_passed()
        return 0.0 if dispatched else IDLE_SECONDS

    def _dispatch_all(self, session: Session) -> int:
        """Every queue gets its turn in every pass; one that takes nothing is left alone for a while.

        What one queue was sent is being confirmed while the next ones are looked at.
        """
        dispatched, errors = 0, []
        for sent in self._send_ahead(session):
            try:
                dispatched += self._mark(session, sent)
            except (PublishTimeout, PublishRefused, InvalidJob) as error:
                self._hold(sent.queue, error)
                errors.append(error)
        if errors and not dispatched:
            raise errors[0]
        return dispatched

    def _send_ahead(self, session: Session) -> Iterator[_Sent]:
        """What was sent to each queue, a few queues later. The ill come last, one queue in each pass."""
        under_way: deque[_Sent] = deque()
        queues = dispatches.queues_to_look_at(session)
        ill = self._pauses.ill(queues)
        for queue in queues:
            if queue not in ill and (sent := self._send(session, queue, seconds=PUBLISH_SECONDS)) is not None:
                under_way.append(sent)
            if len(under_way) > SENT_BATCHES_MAX:
                yield under_way.popleft()
        yield from under_way
        running = self._pauses.running(now=time.monotonic())
        for queue in ill:
            sent = None if queue in running else self._send(session, queue, seconds=RETRY_PUBLISH_SECONDS)
            if sent is not None:
                yield sent
                return

    def _hold(self, queue: str, error: Exception) -> None:
        seconds = self._pauses.begin(queue, now=time.monotonic())
        self._log.warning(
            "a queue takes nothing; the others go on", queue=queue, held_seconds=seconds, detail=str(error)[:200]
        )

    def _send(self, session: Session, queue: str, *, seconds: float) -> _Sent | None:
        """Select and publish, without a lock; None if nothing is due, or enough is on its way."""
        if time.monotonic() - self._missing_since.get(queue, -math.inf) < topology.GONE_SECONDS:
            return None
        room = WINDOW_JOBS - dispatches.count_dispatched(session, queue)
        if room <= 0:
            return None
        due = dispatches.select_due(session, queue=queue, limit=min(room, BATCH_JOBS_MAX))
        if not due:
            return None
        reach(Failpoint.DUE_SELECTED)
        batch = self._publisher.submit_many([row.message for row in due], timeout_seconds=seconds)
        reach(Failpoint.DUE_PUBLISHED)
        return _Sent(queue, due, batch)

    def _mark(self, session: Session, sent: _Sent) -> int:
        """Wait for the confirms, mark what had not moved on; returns how many were confirmed."""
        queue, due, batch = sent
        batch.wait()
        reach(Failpoint.DUE_CONFIRMED)
        confirmed = [row for row, error in zip(due, batch.errors, strict=True) if error is None]
        failed = [(row, error) for row, error in zip(due, batch.errors, strict=True) if error is not None]
        dispatches.mark_dispatched(session, confirmed)
        reach(Failpoint.DUE_MARKED)
        self._metrics.published(queue, late_seconds=[row.late_seconds for row in confirmed], failed=len(failed))
        if confirmed:
            self._pauses.end([queue])
        self._mend(queue, failed)
        return len(confirmed)

    def _mend(self, queue: str, failed: list[tuple[Due, PublishError]]) -> None:
        """A queue or binding that is still missing after a moment is declared; anything else is tried again."""
        missing = {row.message.type for row, error in failed if _is_missing(error)}
        since = self._missing_since.pop(queue, None)
        if missing and since is None:
            self._missing_since[queue] = time.monotonic()
        elif missing:
            found = topology.declare(self._broker_url, {queue: missing}, name="penstock-dispatcher")
            if queue in found.refused:
                raise PublishRefused(f"the queue exists with other arguments: {found.refused[queue]}")
            self._log.info("declared for dispatch", queue=queue, types=sorted(missing))
        others = [error for _, error in failed if not _is_missing(error)]
        if others:
            raise others[0]

    def _look_for_lost(self, session: Session) -> None:
        """What was dispatched to a queue that has since been seen empty is not in it, and is dispatched again."""
        ready = self._lookout.count_ready(set(dispatches.dispatched_queues(session)))
        self._answered_at = time.monotonic()
        empty = {queue for queue, messages in ready.items() if messages == 0}
        for queue in empty & self._empty:
            lost = dispatches.suspect_lost(session, queue=queue, older_seconds=LOST_AFTER_SECONDS)
            self._warn(lost, "lost by the broker: dispatched again", queue=queue)
        for queue in [queue for queue, messages in ready.items() if messages is None]:
            self._warn(
                dispatches.suspect_lost(session, queue=queue, older_seconds=0),
                "their queue is gone: dispatched again",
                queue=queue,
            )
        self._empty = empty

    def _warn(self, jobs: int, what: str, **details: Any) -> None:
        if jobs:
            self._log.warning(what, jobs=jobs, **details)

    def _sign_off(self, session: Session) -> None:
        give_lease_back(session, name=LEASE_NAME, holder=self._id)


def _is_missing(error: PublishError) -> bool:
    """No binding, or not even the exchange."""
    return isinstance(error, Unroutable) or (isinstance(error, PublishRefused) and "NOT_FOUND" in str(error))
