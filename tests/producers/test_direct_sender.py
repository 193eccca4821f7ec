"""Threads that send by themselves, while the I/O thread waits."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.producers.counting import counted
from tests.producers.queues import AddRow, NobodyListens, Queues

from penstock.producers import InvalidJob, Producer, Publisher, Unroutable
from penstock.producers.client.publish import Publish
from penstock.schemas import Message

PUBLISHES = 200


def test_who_publishes_one_job_after_another_sends_by_itself(
    queues: Queues, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nearly always: the first one connects, and heartbeats and the like have their turns."""
    at_once = counted(monkeypatch, "send_at_once")
    receipts = [producer.publish(AddRow(n=n)).job_id for n in range(PUBLISHES)]
    assert sum(at_once) > PUBLISHES // 2
    assert queues.ids() == receipts


def test_threads_that_share_a_producer_take_turns(
    queues: Queues, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each job arrives once, whoever has sent it."""
    at_once = counted(monkeypatch, "send_at_once")
    with ThreadPoolExecutor(8) as threads:
        receipts = list(threads.map(lambda n: producer.publish(AddRow(n=n)).job_id, range(5 * PUBLISHES)))
    assert sum(at_once) > PUBLISHES // 2
    assert sorted(queues.ids()) == sorted(receipts)


def test_jobs_that_are_not_waited_for_arrive_in_their_order(queues: Queues, producer: Producer) -> None:
    """Whoever sends them."""
    producer.publish(AddRow(n=0))
    batches = [producer.begin(Publish(AddRow(n=n))) for n in range(PUBLISHES)]
    assert all(batch.wait().errors == [None] for batch in batches)
    assert queues.ids()[1:] == [batch.messages[0].id for batch in batches]


def test_what_the_socket_does_not_take_at_once_is_sent_when_it_does(queues: Queues, producer: Producer) -> None:
    """Jobs that are larger than its buffer, behind each other."""
    text = "x" * 900_000
    producer.publish(AddRow(n=0))
    batches = [producer.begin(Publish(AddRow(n=n, text=text))) for n in range(20)]
    assert all(batch.wait().errors == [None] for batch in batches)
    assert [len(arrived.body) > len(text) for arrived in queues.take()] == [False, *[True] * 20]


def test_who_sends_by_itself_hears_of_its_own_mistakes(queues: Queues, producer: Producer) -> None:
    """As if the I/O thread had sent it."""
    for n in range(20):
        producer.publish(AddRow(n=n))
        with pytest.raises(Unroutable):
            producer.publish(NobodyListens())
        with pytest.raises(InvalidJob, match="does not fit into AMQP properties"):
            producer.publish(AddRow(n=n), correlation_id="€" * 90)
    assert len(queues.ids()) == 20


def test_a_callback_may_publish_while_others_do(queues: Queues, broker_url: str) -> None:
    """It has the I/O thread, which the others wait for: it must not wait for them."""
    confirmed = threading.Semaphore(0)
    publisher = Publisher(broker_url, timeout_seconds=10)

    def publish_another(_: object) -> None:
        publisher.submit(Message.of(AddRow(n=1))).add_done_callback(lambda _: confirmed.release())

    def publish(n: int) -> None:
        publisher.submit(Message.of(AddRow(n=n))).add_done_callback(publish_another)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(publish, range(PUBLISHES)))
    assert all(confirmed.acquire(timeout=30) for _ in range(PUBLISHES))
    publisher.close()
    assert len(queues.ids()) == 2 * PUBLISHES
