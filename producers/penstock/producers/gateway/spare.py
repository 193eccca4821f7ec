"""The other way in, if it is switched on: RabbitMQ takes jobs while the ledger does not answer."""

from collections.abc import Sequence
from typing import Any

from penstock.ledger.admission import Offer
from penstock.producers.client import Publisher, PublishError, Unroutable
from penstock.producers.client.async_producer import settled
from penstock.producers.gateway.problems import Problem, unavailable
from penstock.producers.gateway.receipt import Receipt

NAME = "penstock-gateway"
TIMEOUT_SECONDS = 5.0
UNSAID = "nobody can tell whether it was accepted; send it again: under the same key it is the same job"


class SpareDoor:
    """Publishes offers under the ids that they have: what the ledger has taken all the same is absorbed there."""

    def __init__(self, broker_url: str, *, log: Any) -> None:
        self._publisher = Publisher(broker_url, name=NAME, timeout_seconds=TIMEOUT_SECONDS)
        self._log = log
        self.works = True  # as far as the last try tells

    async def enter(self, offers: Sequence[Offer]) -> list[Receipt | Problem]:
        """Receipts that say `broker`. Whether a key is another job's is found out when the job is claimed."""
        batch = await settled(self._publisher.submit_many(offer.message for offer in offers))
        self.works = any(error is None or isinstance(error, Unroutable) for error in batch.errors)
        if batch.failures:
            self._log.warning("not accepted by RabbitMQ", jobs=len(batch.failures))
        return [_answer(offer, error) for offer, error in zip(offers, batch.errors, strict=True)]

    def close(self) -> None:
        self._publisher.close(TIMEOUT_SECONDS)


def _answer(offer: Offer, error: PublishError | None) -> Receipt | Problem:
    if error is None:
        return Receipt(offer.message.id, "broker", duplicate=False)
    if isinstance(error, Unroutable):
        return unavailable("the ledger cannot be reached, and no queue of RabbitMQ takes this type yet: start a worker")
    return unavailable(f"neither the ledger nor RabbitMQ answers; {UNSAID}")
