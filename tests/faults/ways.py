"""The ways in: each takes a job and returns the id in its receipt, or raises."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Protocol

from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError

from penstock.ledger.database import LedgerUnavailable
from penstock.producers import Producer, PublishError
from penstock.producers.ledger_producer import LedgerProducer
from penstock.producers.outbox import enqueue
from penstock.schemas import Job

TIMEOUT_SECONDS = 15.0
REPLIES = "penstock.replies.load"
# What a way may raise where there is no receipt; whoever gets it comes again under the same key.
FAULTS = (PublishError, LedgerUnavailable, DBAPIError)


class Way(Protocol):
    """One way in."""

    def publish(self, job: Job, *, key: str, delay: timedelta | None) -> str:
        """Returns the job id of the receipt."""
        ...

    def close(self) -> None:
        """Give back what is held."""
        ...


class ByProducer:
    """Over RabbitMQ or straight into the ledger, with the classes that are made for it; perhaps asking for replies."""

    def __init__(self, producer: Producer | LedgerProducer, **options: Any) -> None:
        self._producer = producer
        self._options = options

    def publish(self, job: Job, *, key: str, delay: timedelta | None) -> str:
        """The receipt is that of the producer."""
        return self._producer.publish(job, key=key, delay=delay, **self._options).job_id

    def close(self) -> None:
        """Close the producer."""
        self._producer.close()


class ByOutbox:
    """In a transaction in the database of a service; the receipt is its commit."""

    def __init__(self, url: str) -> None:
        self._engine = create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 5})

    def publish(self, job: Job, *, key: str, delay: timedelta | None) -> str:
        """Commit it."""
        with self._engine.begin() as connection:
            return enqueue(connection, job, key=key, delay=delay, app_id="load")

    def close(self) -> None:
        """Close its connections."""
        self._engine.dispose()


def _over_rabbitmq(url: str) -> Producer:
    return Producer(url, app_id="load", timeout_seconds=TIMEOUT_SECONDS)


OPENING: dict[str, Callable[[str], Way]] = {
    "broker": lambda url: ByProducer(_over_rabbitmq(url)),
    "asking": lambda url: ByProducer(_over_rabbitmq(url), reply_to=REPLIES),
    "ledger": lambda url: ByProducer(LedgerProducer(url, app_id="load")),
    "outbox": ByOutbox,
}
