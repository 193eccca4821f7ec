"""Publishing straight into the ledger, where there is no broker in front of it: embedded, tests, small hosts."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Self

from penstock.ledger.admission import Offer, admit
from penstock.ledger.database import Ledger
from penstock.ledger.state import State
from penstock.producers.client import Publish, Publishable, Receipt
from penstock.producers.client.publish import as_publish
from penstock.schemas import Contract, Job, Message

BATCH_JOBS_MAX = 500


class LedgerProducer:
    """The same interface as `Producer`; its receipts say `ledger`: the job survives the loss of the broker too.

    `url` is that of the ledger's database. Not thread-safe beyond one call at a time per instance; each call
    uses a session of its own. Raises `LedgerUnavailable`.
    """

    def __init__(self, url: str, *, app_id: str | None = None) -> None:
        self._ledger = Ledger(url)
        self._app_id = app_id

    def publish(
        self,
        job: Job,
        *,
        key: str | None = None,
        due_at: datetime | None = None,
        delay: timedelta | None = None,
        job_id: str | None = None,
        tenant: str | None = None,
        correlation_id: str | None = None,
        traceparent: str | None = None,
    ) -> Receipt:
        """Accept one job, durably; a duplicate gets the first one's id in its receipt."""
        publish = Publish(job, key, due_at, delay, job_id, tenant, correlation_id, traceparent)
        [receipt] = self.publish_many([publish])
        return receipt

    def publish_many(self, jobs: Iterable[Publishable]) -> list[Receipt]:
        """Accept jobs, `(job, key)` pairs or `Publish` items in transactions of 500; receipts in the same order."""
        receipts: list[Receipt] = []
        offers: list[Offer] = []
        for item in jobs:
            publish = as_publish(item)
            message = publish.to_message(app_id=self._app_id)
            offers.append(_offer(message, publish.job.contract()))
            if len(offers) == BATCH_JOBS_MAX:
                receipts += self._accept(offers)
                offers = []
        return receipts + self._accept(offers)

    def publish_message(self, message: Message, *, queue: str) -> Receipt:
        """Accept a message as it is, for a queue; what Dramatiq actors send comes this way."""
        [receipt] = self._accept([Offer(message, queue, _state(message))])
        return receipt

    def close(self) -> None:
        """Nothing is held open between calls."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self, offers: list[Offer]) -> list[Receipt]:
        if not offers:
            return []
        with self._ledger.session() as session:
            admission = admit(session, offers)
        now = datetime.now(UTC)
        return [
            Receipt(
                admission.first.get(offer.message.id, offer.message.id),
                offer.message.key or offer.message.id,
                "ledger",
                now,
            )
            for offer in offers
        ]


def _offer(message: Message, contract: Contract) -> Offer:
    return Offer(
        message,
        contract.queue,
        _state(message),
        at_most_once=contract.guarantee == "at_most_once",
        unique_for=contract.unique_for,
        key_type=contract.key_type,
    )


def _state(message: Message) -> State:
    is_later = message.due_at is not None and message.due_at > datetime.now(UTC)
    return State.SCHEDULED if is_later else State.AVAILABLE
