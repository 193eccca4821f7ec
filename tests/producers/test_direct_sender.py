"""Threads that send by themselves, while the I/O thread waits."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from pika.adapters import select_connection
from tests.producers.counting import counted
from tests.producers.queues import AddRow, NobodyListens, Queues

from penstock.producers import InvalidJob, Producer, Publisher, Unroutable
from penstock.producers.client.batch import Batch
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


def test_a_callback_may_take_a_lock_in_which_others_publish(queues: Queues, broker_url: str) -> None:
    """It has the I/O thread, and nobody who publishes waits for that one."""
    publisher, lock = Publisher(broker_url, timeout_seconds=10), threading.Lock()
    confirmed = threading.Semaphore(0)

    def count(_: object) -> None:
        with lock:
            confirmed.release()

    def publish(n: int) -> None:
        with lock:
            future = publisher.submit(Message.of(AddRow(n=n)))
        future.add_done_callback(count)

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(publish, range(10 * PUBLISHES)))
    assert all(confirmed.acquire(timeout=30) for _ in range(10 * PUBLISHES))
    publisher.close()


@pytest.mark.parametrize("kind", ["select", "poll", "epoll"])
def test_it_is_published_whatever_the_system_waits_with(
    queues: Queues, broker_url: str, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Where pika cannot be stood in for, the I/O thread sends everything."""
    monkeypatch.setattr(select_connection, "SELECT_TYPE", kind)
    at_once = counted(monkeypatch, "send_at_once")
    with Producer(broker_url) as producer:
        receipts = [producer.publish(AddRow(n=n)).job_id for n in range(PUBLISHES)]
    assert queues.ids() == receipts
    assert any(at_once) == (kind != "select")


def test_a_producer_that_could_not_start_can_be_closed(broker_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what is heard is why it could not."""
    monkeypatch.setattr(threading.Thread, "start", refuse_to_start)
    with pytest.raises(RuntimeError, match="no more threads"), Producer(broker_url) as producer:
        producer.publish(AddRow(n=1))


def refuse_to_start(_: threading.Thread) -> None:
    raise RuntimeError("no more threads")


def test_a_fork_leaves_the_connection_of_its_parent_alone(queues: Queues, producer: Producer) -> None:
    """Also where it has not noticed yet that it is one."""
    producer.publish(AddRow(n=0))
    sender = producer._publisher._sender
    assert sender is not None
    assert sender.send_at_once(a_batch(1))
    if (child := os.fork()) == 0:
        os._exit(1 if sender.send_at_once(a_batch(2)) else 0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    producer.publish(AddRow(n=3))
    assert len(queues.ids()) == 3


def a_batch(n: int) -> Batch:
    return Batch([Message.of(AddRow(n=n))], timeout_seconds=10)


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
