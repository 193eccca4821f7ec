"""A broker that fails while it is used."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from tests.producers.queues import AddRow, Queues
from tests.servers.proxy import Proxy
from tests.servers.rabbitmq import PrivateRabbitMQ
from tests.waiting import until

from penstock.producers import BrokerBlocked, Producer, Publisher, PublishError, PublishTimeout
from penstock.producers.client import sender
from penstock.schemas import Message

THREADS = 8

# RabbitMQ 3.10 writes the registration of a new quorum queue to disk half a second later. Killed before that, it comes
# back with a queue that confirms nothing.
REGISTERED_SECONDS = 2.0


@pytest.mark.faults
def test_a_memory_alarm_is_said_at_the_deadline_and_passes(private_rabbitmq: PrivateRabbitMQ) -> None:
    """A plain client would report success, or hang for ever."""
    with Queues(private_rabbitmq.url) as queues, Producer(private_rabbitmq.url) as producer:
        queues.bind(AddRow)
        before = producer.publish(AddRow(n=1))
        try:
            _raise_memory_alarm(private_rabbitmq)
            started = time.monotonic()
            with pytest.raises(BrokerBlocked, match="memory or disk alarm") as raised:
                producer.publish(AddRow(n=2), timeout_seconds=2)
            assert time.monotonic() - started < 5
            assert producer.state == "blocked"
            assert raised.value.outcome_unknown
        finally:
            private_rabbitmq.ctl("set_vm_memory_high_watermark", "0.4")

        after = producer.publish(AddRow(n=3))
        ids = queues.ids()
        assert ids[0] == before.job_id
        assert ids[-1] == after.job_id


@pytest.mark.faults
def test_a_blocked_producer_closes_in_time(private_rabbitmq: PrivateRabbitMQ) -> None:
    """A blocked broker reads nothing, not even the goodbye."""
    producer = Producer(private_rabbitmq.url)
    with Queues(private_rabbitmq.url) as queues:
        queues.bind(AddRow)
        producer.publish(AddRow(n=1))
        try:
            _raise_memory_alarm(private_rabbitmq)
            with pytest.raises(BrokerBlocked):
                producer.publish(AddRow(n=2), timeout_seconds=2)
            started = time.monotonic()
            producer.close(timeout_seconds=1)
            assert time.monotonic() - started < 4
        finally:
            private_rabbitmq.ctl("set_vm_memory_high_watermark", "0.4")


@pytest.mark.faults
def test_nothing_with_a_receipt_is_lost_when_rabbitmq_closes_all_connections(private_rabbitmq: PrivateRabbitMQ) -> None:
    """Three times, under eight threads; the publishers notice nothing but a pause."""

    def close_all() -> None:
        for _ in range(3):
            private_rabbitmq.ctl("close_all_connections", "a test")

    _publish_through(private_rabbitmq, close_all)


@pytest.mark.faults
def test_nothing_with_a_receipt_is_lost_when_the_broker_is_killed(private_rabbitmq: PrivateRabbitMQ) -> None:
    """Killed and started again under eight threads, which wait, and go on."""
    _publish_through(private_rabbitmq, private_rabbitmq.restart)


@pytest.mark.faults
def test_publish_many_goes_through_a_killed_broker(private_rabbitmq: PrivateRabbitMQ) -> None:
    """What was under way is sent again under the same ids."""

    def publish(load: _Load) -> None:
        receipts = load.producer.publish_many(AddRow(n=n) for n in range(1000))
        load.receipts.extend(receipt.job_id for receipt in receipts)

    _publish_through(private_rabbitmq, private_rabbitmq.restart, publish=publish, threads=1)


def test_a_refused_message_is_tried_again_until_there_is_room(queues: Queues) -> None:
    """A NACK means "not now": the queue is full."""
    queues.channel.queue_delete("demo.add_row")
    queues.bind(AddRow, {"x-max-length": 1, "x-overflow": "reject-publish"})
    publisher = Publisher(queues.url)
    publisher.submit(Message.of(AddRow(n=1))).result(timeout=10)

    error = publisher.submit(Message.of(AddRow(n=2)), timeout_seconds=1).exception(timeout=10)
    assert isinstance(error, PublishTimeout)
    assert "times (NACK): is its queue full" in str(error)

    waiting = publisher.submit(Message.of(AddRow(n=3)))
    queues.channel.queue_purge("demo.add_row")
    waiting.result(timeout=10)
    publisher.close()
    assert len(queues.ids()) == 1


def _raise_memory_alarm(rabbitmq: PrivateRabbitMQ) -> None:
    """The limit holds at once, the alarm comes with the next look at the memory."""
    rabbitmq.ctl("set_vm_memory_high_watermark", "0.00001")
    until(lambda: "memory" in rabbitmq.ctl("eval", "rabbit_alarm:get_alarms()."), what="the alarm")


def _publish_one(load: "_Load") -> None:
    load.receipts.append(load.producer.publish(AddRow(n=1)).job_id)


def test_a_connection_that_has_gone_silent_is_replaced(queues: Queues, monkeypatch: pytest.MonkeyPatch) -> None:
    """A firewall forgot it, or the channel hangs in the broker: the job is sent again over a new one."""
    monkeypatch.setattr(sender, "STALL_SECONDS", 0.3)
    with Proxy(queues.url) as proxy, Producer(proxy.url) as producer:
        producer.publish(AddRow(n=1))
        proxy.silence()

        receipt = producer.publish(AddRow(n=2), timeout_seconds=20)

        assert receipt.job_id in queues.ids()


@dataclass
class _Load:
    """Threads that publish until they are told to stop, and note every receipt."""

    producer: Producer
    publish: Callable[["_Load"], None]
    receipts: list[str] = field(default_factory=list)
    errors: list[PublishError] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.over.is_set():
            try:
                self.publish(self)
            except PublishError as error:
                self.errors.append(error)


def _publish_through(
    rabbitmq: PrivateRabbitMQ,
    fault: Callable[[], object],
    *,
    publish: Callable[[_Load], None] = _publish_one,
    threads: int = THREADS,
) -> None:
    """Publish before, while and after `fault` happens; then count."""
    with Queues(rabbitmq.url) as queues:
        queues.bind(AddRow)
    with Producer(rabbitmq.url, timeout_seconds=60) as producer:
        load = _Load(producer, publish)
        publishers = [threading.Thread(target=load.run) for _ in range(threads)]
        for thread in publishers:
            thread.start()
        try:
            registered_at = time.monotonic() + REGISTERED_SECONDS
            until(lambda: len(load.receipts) > 200, timeout_seconds=60, what="receipts")
            until(lambda: time.monotonic() > registered_at, what="the queue to be on the disk")
            fault()
            reached = len(load.receipts) + 200
            until(lambda: len(load.receipts) > reached, timeout_seconds=60, what="receipts after the fault")
        finally:
            load.over.set()
            for thread in publishers:
                thread.join()

    with Queues(rabbitmq.url) as queues:
        queues.bind(AddRow)
        assert set(load.receipts) <= set(queues.ids())
    assert not load.errors
