"""The producer in asyncio."""

import asyncio

import pytest
from tests.producers.queues import AddRow, NobodyListens, Queues
from tests.waiting import until

from penstock.producers import AsyncProducer, PublishManyError, Unroutable


def test_a_thousand_tasks_publish_over_one_connection(queues: Queues) -> None:
    """Each awaits its own confirm; they share the round trips."""

    async def publish_all() -> list[str]:
        async with AsyncProducer(queues.url) as producer:
            receipts = await asyncio.gather(*(producer.publish(AddRow(n=n)) for n in range(1000)))
            return [receipt.job_id for receipt in receipts]

    assert sorted(asyncio.run(publish_all())) == sorted(queues.ids())


def test_the_options_are_those_of_the_producer(queues: Queues) -> None:
    """Where to answer, and under which name."""

    async def publish() -> None:
        async with AsyncProducer(queues.url) as producer:
            await producer.publish(AddRow(n=1), key="one", reply_to="penstock.replies.tests", correlation_id="c-1")

    asyncio.run(publish())
    [arrived] = queues.take()
    assert (arrived.properties.reply_to, arrived.properties.correlation_id) == ("penstock.replies.tests", "c-1")
    assert (arrived.properties.headers or {})["dedup-key"] == "one"


def test_the_errors_are_those_of_the_producer(queues: Queues) -> None:
    """There is one implementation."""

    async def publish() -> None:
        async with AsyncProducer(queues.url) as producer:
            with pytest.raises(Unroutable):
                await producer.publish(NobodyListens())
            with pytest.raises(PublishManyError):
                await producer.publish_many([NobodyListens(), AddRow(n=1)])

    asyncio.run(publish())
    assert len(queues.ids()) == 1


def test_publish_many_awaits_all_confirms(queues: Queues) -> None:
    """In the order of the jobs."""

    async def publish() -> list[str]:
        async with AsyncProducer(queues.url) as producer:
            return [receipt.job_id for receipt in await producer.publish_many(AddRow(n=n) for n in range(3000))]

    assert asyncio.run(publish()) == queues.ids()


def test_a_cancelled_task_does_not_disturb_the_others(queues: Queues) -> None:
    """Its job is under way and arrives; only the waiting ends."""

    async def publish() -> list[str]:
        async with AsyncProducer(queues.url) as producer:
            await producer.publish(AddRow(n=0))
            doomed = [asyncio.create_task(producer.publish(AddRow(n=n))) for n in range(100)]
            await asyncio.sleep(0)
            for task in doomed:
                task.cancel()
            outcomes = await asyncio.gather(*doomed, return_exceptions=True)
            assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
            return [(await producer.publish(AddRow(n=n))).job_id for n in range(10)]

    confirmed = asyncio.run(publish())
    arrived: set[str] = set()

    def all_arrived() -> bool:
        arrived.update(queues.ids())
        return len(arrived) == 111

    until(all_arrived, what="the cancelled jobs too")
    assert arrived >= set(confirmed)
