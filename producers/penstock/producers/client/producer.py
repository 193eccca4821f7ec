"""The AMQP client of services that publish jobs."""

from collections.abc import Iterable
from types import TracebackType
from typing import Self, Unpack

from penstock.producers.client.batch import Batch
from penstock.producers.client.publish import Publish, Publishable, PublishOptions
from penstock.producers.client.publisher import TIMEOUT_SECONDS, Publisher
from penstock.producers.client.receipt import Receipt
from penstock.producers.client.stream import Stream
from penstock.schemas import Job, Keyring, Message


class Producer:
    """Publishes jobs to RabbitMQ; thread-safe, one connection, made at the first job.

    ```python
    with Producer("amqp://user:password@host/vhost") as producer:
        receipt = producer.publish(AddRow(n=1), key="row-1")
        receipts = producer.publish_many(AddRow(n=n) for n in range(1000))
    ```

    A receipt is given when RabbitMQ has confirmed the job; otherwise a `PublishError` says what is wrong,
    what to do, and whether the outcome is unknown. Every job has a deadline of `timeout_seconds`.
    `app_id` names the publishing service, `keyring` seals the sensitive fields of its jobs.
    """

    def __init__(
        self,
        url: str,
        *,
        app_id: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        keyring: Keyring | None = None,
    ) -> None:
        """Raises `ValueError` for a bad URL; does not connect yet."""
        self._app_id = app_id
        self._keyring = keyring
        self._publisher = Publisher(url, name=app_id or "penstock-producer", timeout_seconds=timeout_seconds)

    def publish(
        self,
        job: Job,
        *,
        timeout_seconds: float | None = None,
        **options: Unpack[PublishOptions],
    ) -> Receipt:
        """Publish one job; returns when RabbitMQ has confirmed it. Raises `PublishError`.

        Two publishes with the same `key` are the same job, run once. The job runs at once, or at `due_at`
        (aware), or after `delay`. The options are those of `Publish`.
        """
        return receipt_of(self.begin(Publish(job, **options), timeout_seconds=timeout_seconds).wait())

    def publish_many(self, jobs: Iterable[Publishable], *, timeout_seconds: float | None = None) -> list[Receipt]:
        """Publish jobs, `(job, key)` pairs or `Publish` items; receipts come in the same order.

        The iterable is read as fast as RabbitMQ confirms, so it may be a long generator; each job has its
        own deadline. Raises `PublishManyError` when some have no receipt: it names them and has the
        receipts of the others. Jobs that RabbitMQ does not route or accept do not stop their neighbours;
        a broker that is gone does: the rest of the iterable is not touched.
        """
        stream = self.stream(jobs, timeout_seconds=timeout_seconds)
        for batch in stream:
            batch.wait()
        return stream.result()

    def publish_message(self, message: Message, *, queue: str) -> Receipt:
        """Publish a message as it is; what Dramatiq actors send comes this way. Raises `PublishError`.

        `queue` is where a ledger without a broker would put it: on RabbitMQ the bindings decide.
        """
        return receipt_of(self._publisher.submit_many((message,)).wait())

    def close(self, timeout_seconds: float = 10.0) -> None:
        """Wait for outstanding confirms, then disconnect. Publishing afterwards raises `ProducerClosed`."""
        self._publisher.close(timeout_seconds)

    @property
    def state(self) -> str:
        """`connected`, `blocked`, `disconnected` or `closed`; a glance, for health checks."""
        return self._publisher.state

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def begin(self, publish: Publish, *, timeout_seconds: float | None = None) -> Batch:
        """Hand over one job without waiting; for those who wait in their own way."""
        message = publish.to_message(app_id=self._app_id, keyring=self._keyring)
        return self._publisher.submit_many((message,), timeout_seconds=timeout_seconds)

    def stream(self, jobs: Iterable[Publishable], *, timeout_seconds: float | None = None) -> Stream:
        """The steps of `publish_many`, without the waiting."""

        def submit(messages: list[Message]) -> Batch:
            return self._publisher.submit_many(messages, timeout_seconds=timeout_seconds)

        return Stream(jobs, submit=submit, app_id=self._app_id, keyring=self._keyring)


def receipt_of(batch: Batch) -> Receipt:
    """The receipt for a batch of one; raises its error."""
    [message], [error] = batch.messages, batch.errors
    if error is not None:
        raise error
    return Receipt(message.id, message.key or message.id, "broker", batch.confirmed_at)
