"""Deliveries: which may still be acked, and what goes back to its queue."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.waiting import PATIENCE_SECONDS, until
from tests.workers.amqp import UNREADABLE_HEADERS, channel_on, consuming, put, put_note, ready

from penstock.workers import deliveries as module
from penstock.workers import topology
from penstock.workers.consumption import Delivery
from penstock.workers.deliveries import Deliveries


@pytest.fixture
def deliveries(broker_url: str) -> Iterator[Deliveries]:
    """A consumer of the queue `test`."""
    with consuming(broker_url, {"test": {"test.note"}}) as consumer:
        yield consumer


def publish(url: str, *names: str) -> None:
    with channel_on(url) as channel:
        for name in names:
            put_note(channel, name)


def take(deliveries: Deliveries, count: int) -> list[Delivery]:
    """The next deliveries that may be acked."""
    taken: list[Delivery] = []
    while len(taken) < count:
        delivery = deliveries.inbox.get(timeout=PATIENCE_SECONDS)
        if delivery.generation == deliveries.generation:
            taken.append(delivery)
    return taken


def waiting(url: str, queues: set[str]) -> int:
    """How many messages wait in these queues together."""
    return sum(count or 0 for count in topology.count_ready(url, queues, name="test").values())


def is_settled(deliveries: Deliveries) -> bool:
    """Whether RabbitMQ has been given the last wish, and has confirmed it."""
    consumption = deliveries._consumption
    return consumption is not None and consumption.generation == deliveries.generation and consumption.is_confirmed


def test_fifty_queues_change_their_prefetch_under_load_on_one_connection(broker_url: str) -> None:
    """However much is on its way when the wish comes; and nothing is acked that was not taken."""
    bindings = {f"queue-{n}": {f"test.note-{n}"} for n in range(50)}
    with consuming(broker_url, bindings) as deliveries:
        connection = deliveries._connection
        with channel_on(broker_url) as channel:
            for job_type in [job_type for types in bindings.values() for job_type in types] * 40:
                channel.basic_publish("penstock.jobs", job_type, b"{}")
        taken = 0
        for prefetch in (4, 16, 2, 40):
            deliveries.set_prefetch(prefetch)
            last = take(deliveries, 100)[-1]
            deliveries.ack(last.generation, last.tag)
            taken += 100
        deliveries.set_prefetch(0)
        until(lambda: waiting(broker_url, set(bindings)) == 2000 - taken, what="the rest to be back")
        assert deliveries._connection is connection


def test_what_a_paused_consumer_dropped_is_not_acked_with_a_later_tag(deliveries: Deliveries, broker_url: str) -> None:
    """Between the wish to pause and RabbitMQ's answer the inbox still has deliveries; they belong to nobody."""
    publish(broker_url, "a", "b", "c")
    dropped, _, last = take(deliveries, 3)
    deliveries.set_prefetch(0)
    deliveries.ack(last.generation, last.tag)
    assert until(lambda: ready(broker_url, "test") == 3, what="all three to be back")
    assert dropped.generation != deliveries.generation


def test_a_pause_that_is_over_at_once_gives_back_what_was_dropped(deliveries: Deliveries, broker_url: str) -> None:
    """Paused and resumed with the same prefetch before the I/O thread has looked: nothing may stay unacked for ever."""
    publish(broker_url, "a", "b")
    first = take(deliveries, 2)
    deliveries.set_prefetch(0)
    deliveries.set_prefetch(16)
    again = take(deliveries, 2)
    assert [delivery.body for delivery in again] == [delivery.body for delivery in first]
    deliveries.ack(again[-1].generation, again[-1].tag)
    deliveries.set_prefetch(0)
    until(lambda: ready(broker_url, "test") == 0, what="an empty queue")


def test_deliveries_of_another_channel_are_never_acked(deliveries: Deliveries, broker_url: str) -> None:
    """After a reconnect the same tag is somebody else's job."""
    publish(broker_url, "a")
    [before] = take(deliveries, 1)
    connection = deliveries._connection
    assert connection is not None
    deliveries._post(connection.close)
    [after] = take(deliveries, 1)
    assert (after.tag, after.body) == (before.tag, before.body)
    deliveries.ack(before.generation, before.tag)
    deliveries.set_prefetch(0)
    until(lambda: ready(broker_url, "test") == 1, what="the unacked delivery to be back")


@pytest.mark.parametrize("wanted", [[32, 0, 64], [0, 1, 0, 2], [1, 2, 3, 4, 5]])
def test_the_last_wish_for_a_prefetch_is_what_rabbitmq_gets(
    deliveries: Deliveries, broker_url: str, wanted: list[int]
) -> None:
    """However fast wishes follow each other."""
    for prefetch in wanted:
        deliveries.set_prefetch(prefetch)
    until(lambda: is_settled(deliveries), what="the last wish")
    publish(broker_url, *map(str, range(wanted[-1] + 3)))
    take(deliveries, wanted[-1])
    until(lambda: ready(broker_url, "test") == 3, what="the rest to stay in the queue")


def test_a_queue_with_other_arguments_is_refused_and_taken_up_when_it_is_gone(
    broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are consumed meanwhile, and nobody has to restart a worker."""
    monkeypatch.setattr(module, "REFUSED_SECONDS", 0.1)
    with channel_on(broker_url) as channel:
        channel.queue_declare("classic", durable=True)
        with consuming(broker_url, {"classic": {"test.other"}, "test": {"test.note"}}) as deliveries:
            assert list(deliveries.refused) == ["classic"]
            assert not deliveries.is_consuming
            publish(broker_url, "a")
            take(deliveries, 1)
            channel.queue_delete("classic")
            until(lambda: deliveries.is_consuming, what="the queue to be taken up")
            put(channel, "test.other", b"{}")
            until(lambda: take(deliveries, 1)[0].queue == "classic", what="a delivery from it")


def test_a_deleted_queue_is_declared_and_consumed_again(deliveries: Deliveries, broker_url: str) -> None:
    """RabbitMQ tells by cancelling the consumer. Other consumers are told as well, before it is declared again."""
    with channel_on(broker_url) as channel:
        deleted_at = time.monotonic()
        channel.queue_delete("test")
        until(lambda: deliveries.is_consuming and ready(broker_url, "test") is not None, what="the queue to be back")
        assert time.monotonic() - deleted_at > topology.GONE_SECONDS
        put_note(channel, "a")
    assert take(deliveries, 1)[0].queue == "test"


def test_an_exchange_that_is_gone_is_declared_again_with_its_bindings(
    broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RabbitMQ tells no consumer; without it nothing that is published would ever come."""
    monkeypatch.setattr(module, "ASK_SECONDS", 0.1)
    with consuming(broker_url, {"test": {"test.note"}}) as deliveries, channel_on(broker_url) as channel:
        before = deliveries.generation
        channel.exchange_delete("penstock.jobs")
        until(lambda: deliveries.generation > before and deliveries.is_consuming, what="a new beginning")
        put_note(channel, "a")
        assert take(deliveries, 1)[0].queue == "test"


def test_reconnecting_leaks_no_file(deliveries: Deliveries) -> None:
    """Thirty lost connections later, as many files are open as before."""

    def reconnect() -> None:
        before = deliveries.generation
        connection = deliveries._connection
        if connection is not None:
            deliveries._post(connection.close)
        until(lambda: deliveries.generation > before and deliveries.is_consuming, what="a new connection")

    reconnect()
    files = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(30):
        reconnect()
    assert len(list(Path("/proc/self/fd").iterdir())) <= files + 2


def test_a_mistake_in_the_thread_leaves_no_connection_behind(deliveries: Deliveries, broker_url: str) -> None:
    """What it held comes again at once, not only when RabbitMQ misses heartbeats."""

    def stumble() -> None:
        raise ZeroDivisionError

    publish(broker_url, "held")
    [before] = take(deliveries, 1)
    deliveries._post(stumble)
    [after] = take(deliveries, 1)
    assert after.body == before.body
    assert after.generation > before.generation


def test_bodies_of_any_size_arrive_whole_and_in_order(deliveries: Deliveries, broker_url: str) -> None:
    """Small ones are read in one go, large ones and those in several frames as pika does, in any mixture."""
    sizes = [0, 1, 70_000, 20, 65_536, 65_537, 300_000, 5, 131_064, 0, 131_065, 3]
    sent = [bytes([number]) * size for number, size in enumerate(sizes)]
    with channel_on(broker_url) as channel:
        for body in sent:
            channel.basic_publish("", "test", body)
    received = take(deliveries, len(sent))
    assert [delivery.body for delivery in received] == sent
    assert [delivery.tag for delivery in received] == list(range(received[0].tag, received[0].tag + len(sent)))


@pytest.mark.parametrize("size", [0, 10, 100_000])
def test_headers_that_pika_cannot_read_do_not_end_the_connection(
    deliveries: Deliveries, broker_url: str, size: int
) -> None:
    """RabbitMQ takes them from anybody, and would deliver them again to every worker, over and over."""
    generation = deliveries.generation
    with channel_on(broker_url) as channel:
        for properties in UNREADABLE_HEADERS.values():
            channel.basic_publish("", "test", b"x" * size, properties)
        put_note(channel, "behind them")
    *unreadable, readable = take(deliveries, len(UNREADABLE_HEADERS) + 1)
    assert [(it.properties, len(it.body)) for it in unreadable] == [(None, size)] * len(UNREADABLE_HEADERS)
    assert readable.properties is not None
    assert readable.properties.type == "test.note"
    assert deliveries.generation == generation
