"""The outcomes of messages that were submitted together."""

import asyncio
from typing import Any

import pytest
from tests.producers.queues import AddRow

from penstock.producers import AsyncProducer, Batch, Publisher, PublishTimeout, Unroutable
from penstock.producers.client import batch as batch_file
from penstock.schemas import Message


def messages(count: int) -> list[Message]:
    return [Message.of(AddRow(n=n)) for n in range(count)]


def test_the_waiter_is_woken_by_the_last_outcome() -> None:
    """And finds each message with its own."""
    first, second = messages(2)
    batch = Batch([first, second], timeout_seconds=10)
    unroutable = Unroutable("no queue", job_type=second.type, job_id=second.id)

    assert not batch.settle(1, unroutable)
    assert not batch.done.done()
    assert batch.settle(0, None)

    assert batch.wait().failures == [(second, unroutable)]


def test_an_outcome_is_recorded_once() -> None:
    """A confirm that comes after the deadline changes nothing."""
    batch = Batch(messages(2), timeout_seconds=10)
    late = PublishTimeout("late")

    batch.settle(0, late)
    batch.settle(0, None)

    assert batch.errors == [late, None]
    assert not batch.done.done()


def test_an_empty_batch_is_done() -> None:
    """Nobody would wake its waiter."""
    batch = Batch([], timeout_seconds=10)
    assert batch.wait().failures == []
    assert batch.done.result(timeout=0) is batch


def test_the_future_is_done_whether_it_is_asked_for_before_or_after() -> None:
    """It is made for those who ask; a second wait returns at once, too."""
    early, late = (Batch(messages(1), timeout_seconds=10) for _ in range(2))
    told: list[Batch] = []
    early.done.add_done_callback(lambda future: told.append(future.result()))
    for batch in (early, late):
        batch.settle(0, None)
        assert batch.wait() is batch.wait() is batch
    late.done.add_done_callback(lambda future: told.append(future.result()))
    assert told == [early, late]


class Raced(Batch):
    """The I/O thread settles the last message at the moment somebody's future is in place."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "_done" and value is not None:
            self.settle(0, None)


def test_the_future_may_be_finished_at_the_moment_it_is_made() -> None:
    """By the I/O thread, before whoever asked for it has gone on."""
    batch = Raced(messages(1), timeout_seconds=10)
    assert batch.done.result(timeout=0) is batch


def test_a_dead_io_thread_leaves_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it had settled stands, the rest is of unknown outcome."""
    monkeypatch.setattr(batch_file, "GRACE_SECONDS", 0.0)
    batch = Batch(messages(2), timeout_seconds=0.01)
    batch.settle(0, None)

    [(message, error)] = batch.wait().failures

    assert message == batch.messages[1]
    assert isinstance(error, PublishTimeout)
    assert error.outcome_unknown


def test_a_dead_io_thread_leaves_no_task_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for asyncio."""
    monkeypatch.setattr(batch_file, "GRACE_SECONDS", 0.0)
    stuck = Batch(messages(1), timeout_seconds=0.01)
    monkeypatch.setattr(Publisher, "submit_many", lambda *_, **__: stuck)

    async def publish() -> None:
        async with AsyncProducer("amqp://guest:guest@127.0.0.1/") as producer:
            await producer.publish(AddRow(n=1))

    with pytest.raises(PublishTimeout):
        asyncio.run(publish())
