"""The relay publishes what is committed in an outbox. Any number may run: one skips the rows that another has.

A row is deleted after its confirm. Whatever happens in between, it is there still and is published again under the
same job id, which the claim absorbs.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from penstock.ledger.chore import Chore
from penstock.ledger.failpoints import Failpoint, reach
from penstock.producers.client import Publisher, PublishError
from penstock.producers.client.backoff import Backoff
from penstock.producers.client.pauses import Pauses
from penstock.producers.outbox.rows import Row, read_row
from penstock.producers.outbox.store import OutboxUnavailable, Refused
from penstock.producers.outbox.verdicts import is_fault_of_the_row, is_fault_of_the_type, reason_of
from penstock.schemas import UnreadableMessage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from penstock.producers.outbox.metrics import RelayMetrics
    from penstock.producers.outbox.store import Store
    from penstock.schemas import Message

BATCH_ROWS = 500
PUBLISH_SECONDS = 10.0
RETRY_PUBLISH_SECONDS = 1.0
POLL_SECONDS = 1.0
HELD_SECONDS = 1.0
# Rows may commit late, far before the place where the relay is: it starts from the front again this often. What it
# walks over there are deleted rows that a long transaction keeps, so it must not do so in every pass; nor count all.
SWEEP_SECONDS = 1.0
LAG_SECONDS = 5.0
SHARE_MAX = 0.05  # of its time it spends at most this part on either
OUTAGE_WAIT_SECONDS_MAX = 2.0


@dataclass(slots=True)
class _Outcome:
    """What became of a batch. `trouble` holds up everything, unless others were published in spite of it."""

    published: list[str] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    failures: int = 0
    trouble: PublishError | None = None


class Relay:
    """One loop over one connection, in the thread that calls `run`."""

    def __init__(
        self,
        *,
        open_store: Callable[[], Store],
        broker_url: str,
        metrics: RelayMetrics,
        log: Any,
        batch_rows: int = BATCH_ROWS,
    ) -> None:
        self._open_store = open_store
        self._metrics = metrics
        self._log = log
        self._batch_rows = batch_rows
        self._publisher = Publisher(broker_url, name="penstock-relay", timeout_seconds=PUBLISH_SECONDS)
        self._pauses = Pauses()
        self._after: str | None = None
        self._held_at = -1e9
        self._sweeping, self._measuring = Chore(share=SHARE_MAX), Chore(share=SHARE_MAX)
        self._stopping = threading.Event()
        self.passed_at = time.monotonic()

    @property
    def is_healthy(self) -> bool:
        """Whether passes end without an error, with or without work."""
        return time.monotonic() - self.passed_at < 3 * PUBLISH_SECONDS

    def request_stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        """Relay until told to stop."""
        backoff = Backoff(first_seconds=0.05, most_seconds=OUTAGE_WAIT_SECONDS_MAX)
        attempt = 0
        while not self._stopping.is_set():
            passed_at = self.passed_at
            try:
                self._work()
            except (PublishError, OutboxUnavailable) as error:
                self._log.warning("relaying is held up", error=type(error).__name__, detail=str(error)[:200])
            except Exception as error:  # each library has its own; none of them tells a payload
                self._log.warning("the outbox does not answer", error=type(error).__name__, detail=str(error)[:200])
            attempt = 1 if self.passed_at > passed_at else attempt + 1
            self._stopping.wait(backoff.seconds(attempt))
        self._publisher.close(timeout_seconds=2)

    def _work(self) -> None:
        """Pass after pass over one connection, until told to stop or until something fails."""
        store = self._open_store()
        try:
            while not self._stopping.is_set():
                if not self.relay_batch(store):
                    store.wait(POLL_SECONDS, after=self._after)
        finally:
            store.close()

    def relay_batch(self, store: Store) -> bool:
        """Take, publish without a word to the database, settle; whether there was something."""
        if self._measuring.is_due(every_seconds=LAG_SECONDS):
            with self._measuring:
                self._metrics.lag(store.lag())
        rows = self._next_rows(store)
        if rows:
            reach(Failpoint.ROWS_TAKEN)
        outcome = self._publish(rows)
        if rows:
            reach(Failpoint.ROWS_CONFIRMED)
            store.settle(published=outcome.published, refused=outcome.refused)
            reach(Failpoint.ROWS_DELETED)
        self._metrics.relayed(published=len(outcome.published), failed=outcome.failures)
        if outcome.trouble is not None and not outcome.published:
            raise outcome.trouble
        if outcome.published or not self._pauses.running(now=time.monotonic()):
            self.passed_at = time.monotonic()
            self._metrics.passed()
        return bool(rows)

    def _next_rows(self, store: Store) -> list[Row]:
        started = time.monotonic()
        if started - self._held_at > HELD_SECONDS:
            self._held_at = started
            if rows := store.take_held(limit=self._batch_rows):
                return rows
        without = self._pauses.running(now=started)
        if self._after is not None and not self._sweeping.is_due(every_seconds=SWEEP_SECONDS):
            rows = store.take(after=self._after, limit=self._batch_rows, without=without)
            if rows or not self._sweeping.is_due():
                self._after = rows[-1].id if rows else self._after
                return rows
        with self._sweeping:
            rows = store.take(after=None, limit=self._batch_rows, without=without)
        self._after = rows[-1].id if rows else self._after
        return rows

    def _publish(self, rows: Sequence[Row]) -> _Outcome:
        outcome = _Outcome()
        sent: list[tuple[Row, Message]] = []
        for row in rows:
            try:
                sent.append((row, read_row(row)))
            except UnreadableMessage as unreadable:
                outcome.refused.append(Refused(row.id, str(unreadable)))
        # The ill come last, one type in each pass, so that they hold up neither the others nor each other for as long.
        ill = self._pauses.ill(message.type for _, message in sent)
        self._submit(outcome, [it for it in sent if it[1].type not in ill], seconds=PUBLISH_SECONDS)
        self._submit(outcome, [it for it in sent if it[1].type in ill[:1]], seconds=RETRY_PUBLISH_SECONDS)
        for refused in outcome.refused:
            self._log.warning("held back: no broker takes it", job_id=refused.id, reason=refused.reason)
        return outcome

    def _submit(self, outcome: _Outcome, sent: Sequence[tuple[Row, Message]], *, seconds: float) -> None:
        if not sent:
            return
        batch = self._publisher.submit_many([message for _, message in sent], timeout_seconds=seconds).wait()
        for (row, message), error in zip(sent, batch.errors, strict=True):
            self._judge(outcome, row, message, error)
        self._pauses.end({message.type for (_, message), error in zip(sent, batch.errors, strict=True) if not error})

    def _judge(self, outcome: _Outcome, row: Row, message: Message, error: PublishError | None) -> None:
        if error is None:
            outcome.published.append(row.id)
            return
        outcome.failures += 1
        if is_fault_of_the_row(error):
            outcome.refused.append(Refused(row.id, reason_of(error)))
            return
        outcome.trouble = error
        if is_fault_of_the_type(error) and message.type not in self._pauses.running(now=(now := time.monotonic())):
            seconds = self._pauses.begin(message.type, now=now)
            self._log.warning(
                "a type gets no confirms; the others go on",
                type=message.type,
                paused_seconds=seconds,
                detail=str(error)[:200],
            )
