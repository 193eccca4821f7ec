"""The same producer for asyncio: it awaits what `Producer` waits for."""

import asyncio
from collections.abc import Iterable
from types import TracebackType
from typing import Self, Unpack

from penstock.producers.client.batch import Batch
from penstock.producers.client.producer import Producer, receipt_of
from penstock.producers.client.publish import Publish, Publishable, PublishOptions
from penstock.producers.client.publisher import TIMEOUT_SECONDS
from penstock.producers.client.receipt import Receipt
from penstock.schemas import Job, Keyring


class AsyncProducer:
    """Publishes jobs to RabbitMQ from asyncio; see `Producer` for what holds.

    Cancelling a task that publishes only ends its waiting: the job may still be accepted.
    """

    def __init__(
        self,
        url: str,
        *,
        app_id: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        keyring: Keyring | None = None,
    ) -> None:
        self._producer = Producer(url, app_id=app_id, timeout_seconds=timeout_seconds, keyring=keyring)

    async def publish(
        self,
        job: Job,
        *,
        timeout_seconds: float | None = None,
        **options: Unpack[PublishOptions],
    ) -> Receipt:
        """As `Producer.publish`."""
        batch = self._producer.begin(Publish(job, **options), timeout_seconds=timeout_seconds)
        return receipt_of(await settled(batch))

    async def publish_many(self, jobs: Iterable[Publishable], *, timeout_seconds: float | None = None) -> list[Receipt]:
        """As `Producer.publish_many`."""
        stream = self._producer.stream(jobs, timeout_seconds=timeout_seconds)
        for batch in stream:
            await settled(batch)
        return stream.result()

    async def close(self, timeout_seconds: float = 10.0) -> None:
        """As `Producer.close`, without holding up the event loop."""
        await asyncio.to_thread(self._producer.close, timeout_seconds)

    @property
    def state(self) -> str:
        """As `Producer.state`."""
        return self._producer.state

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def settled(batch: Batch) -> Batch:
    """`Batch.wait` for the event loop."""
    done, _ = await asyncio.wait([asyncio.wrap_future(batch.done)], timeout=batch.patience_seconds)
    return batch if done else batch.give_up()
