"""What only a caretaker can say: backlog, publishes, ticks, replies, and that it goes on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from penstock.workers.metric_files import count, observe_many

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from penstock.workers.metric_files import MetricFiles

LAG_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)
REPLY_KINDS = ("receipt", "result")


class CaretakerMetrics:
    """Counters and histograms move once per batch, gauges once per pass."""

    def __init__(self, files: MetricFiles) -> None:
        self._published = files.counter("penstock_jobs_published", "Due jobs published and confirmed", "queue")
        self._failures = files.counter("penstock_publish_failures", "Publishes without a confirm", "queue")
        self._lag = files.histogram("penstock_dispatch_lag_seconds", "From due to dispatched", LAG_BUCKETS, "queue")
        self._oldest_due = files.gauge(
            "penstock_oldest_due_seconds", "Age of the oldest due job that is neither dispatched nor claimed", "queue"
        )
        self._due = files.gauge("penstock_due_jobs", "Due jobs that are neither dispatched nor claimed", "queue")
        self._measured_at = files.gauge(
            "penstock_due_measured_timestamp_seconds", "When the due jobs were last counted; 0: never"
        )
        self._dispatched_at = files.gauge(
            "penstock_dispatcher_last_pass_timestamp_seconds",
            "When the dispatcher that leads last finished a pass without an error; 0: never",
        )
        self._rescued_at = files.gauge(
            "penstock_rescuer_last_pass_timestamp_seconds",
            "When a rescuer last finished a pass without an error; 0: never",
        )
        self._fired = files.counter("penstock_schedule_jobs", "Jobs that came by the clock", "schedule")
        self._late = files.counter("penstock_schedule_late", "Times that ticks of a schedule were missed", "schedule")
        self._replies = files.counter("penstock_replies_sent", "Replies that RabbitMQ has confirmed", "kind")
        for kind in REPLY_KINDS:
            self._replies.labels(kind)
        self._reply_failures = files.counter("penstock_reply_failures", "Replies without a confirm")
        self._unheard = files.counter("penstock_replies_unheard", "Replies whose queue was gone")
        self._replies_waiting = files.gauge("penstock_replies_waiting", "Replies that could be sent now")
        self._oldest_reply = files.gauge(
            "penstock_oldest_reply_seconds", "For how long the oldest of them could have been sent"
        )
        self._known_queues: set[str] = set()

    def published(self, queue: str, *, late_seconds: Sequence[float], failed: int) -> None:
        """A batch: how long each job had been due that RabbitMQ has confirmed, and how many it has not."""
        if late_seconds:
            self._published.labels(queue).inc(len(late_seconds))
            observe_many(self._lag.labels(queue), LAG_BUCKETS, late_seconds)
        if failed:
            self._failures.labels(queue).inc(failed)

    def fired(self, schedule: str, *, jobs: int, late: bool) -> None:
        """The due ticks of a schedule were dealt with."""
        self._fired.labels(schedule).inc(jobs)
        if late:
            self._late.labels(schedule).inc()

    def replied(self, kinds: Iterable[str], *, failed: int, unheard: int) -> None:
        """A batch of replies: the kinds that were confirmed, how many were not, and how many had no queue any more."""
        count(self._replies, ((kind,) for kind in kinds))
        if failed:
            self._reply_failures.inc(failed)
        if unheard:
            self._unheard.inc(unheard)

    def replies_owed(self, waiting: int, oldest_seconds: float) -> None:
        self._replies_waiting.set(waiting)
        self._oldest_reply.set(oldest_seconds)

    def dispatcher_passed(self) -> None:
        self._dispatched_at.set(time.time())

    def rescuer_passed(self) -> None:
        self._rescued_at.set(time.time())

    def due(self, queues: Sequence[tuple[str, int, float]]) -> None:
        """(queue, due jobs, age of the oldest in seconds); queues that are not named have none."""
        now = {queue for queue, _, _ in queues}
        for queue in self._known_queues - now:
            self._due.labels(queue).set(0)
            self._oldest_due.labels(queue).set(0)
        for queue, jobs, age in queues:
            self._due.labels(queue).set(jobs)
            self._oldest_due.labels(queue).set(max(0.0, age))
        self._known_queues |= now
        self._measured_at.set(time.time())
