"""Queues that RabbitMQ has and gives nobody: their leader is gone, and no other one comes.

RabbitMQ 3.10 that was killed right after declaring a queue can come back so: it answers to everything but a consumer,
which waits for 65 s and then ends its connection, and it does so again after a restart.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from tests.faults.neighbours import Hopeless, Steady
from tests.faults.readiness import consuming
from tests.servers.rabbitmq import PrivateRabbitMQ
from tests.waiting import until
from tests.workers.amqp import channel_on, put
from tests.workers.pool import RunningPool
from tests.workers.site import Site

from penstock.producers.ledger_producer import LedgerProducer
from penstock.workers import consumption, deliveries, topology
from penstock.workers.deliveries import Deliveries

pytestmark = pytest.mark.faults

BREAKING = {
    "does not answer": ("sys:suspend('%2F_{}').", "sys:resume('%2F_{}')."),
    "ends the connection": (
        "ra:stop_server(quorum_queues, {{'%2F_{}', node()}}).",
        "ra:restart_server(quorum_queues, {{'%2F_{}', node()}}).",
    ),
}
CONSTANTS = {"consumption.ANSWER_SECONDS_MAX": 1.0, "deliveries.ASK_SECONDS": 0.3, "deliveries.REFUSED_SECONDS": 0.3}


def mute(pool: RunningPool) -> list[dict[str, Any]]:
    """What it says of such queues."""
    return [line for line in pool.log() if line["event"].startswith("RabbitMQ gives this queue no consumer")]


@contextlib.contextmanager
def broken(rabbitmq: PrivateRabbitMQ, queue: str, how: str) -> Iterator[None]:
    """The queue has no leader, until it has one again."""
    down, up = BREAKING[how]
    rabbitmq.ctl("eval", down.format(queue))
    yield
    rabbitmq.ctl("eval", up.format(queue))


@pytest.mark.parametrize("how", BREAKING)
def test_a_queue_without_a_leader_keeps_nobody_from_the_others_and_is_taken_up_when_it_has_one(
    private_rabbitmq: PrivateRabbitMQ, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it comes before them."""
    monkeypatch.setattr(consumption, "ANSWER_SECONDS_MAX", 1.0)
    monkeypatch.setattr(deliveries, "ASK_SECONDS", 0.3)
    monkeypatch.setattr(deliveries, "REFUSED_SECONDS", 0.3)
    bindings = {"a-mute": {"test.mute"}, "test": {"test.note"}}
    topology.declare(private_rabbitmq.url, bindings, name="test")
    consumer = Deliveries(
        url=private_rabbitmq.url,
        bindings=bindings,
        prefetch=16,
        name="test",
        log=structlog.get_logger(),
        on_declared_anew=lambda _: None,
    )
    with channel_on(private_rabbitmq.url) as channel:
        with broken(private_rabbitmq, "a-mute", how):
            consumer.start()
            put(channel, "test.note", b"{}")
            assert consumer.inbox.get(timeout=20).queue == "test"
            assert list(consumer.refused) == ["a-mute"]
            assert not consumer.is_consuming
        until(lambda: consumer.is_consuming, timeout_seconds=80, what="the queue to be taken up")
        put(channel, "test.mute", b"{}")
        until(lambda: consumer.inbox.get(timeout=20).queue == "a-mute", what="a delivery from it")
    consumer.stop()


def test_what_the_ledger_knows_is_done_once_such_a_queue_has_been_deleted(
    site_on_private_rabbitmq: Site, private_rabbitmq: PrivateRabbitMQ
) -> None:
    """The log says so; nobody has to restart a worker or a dispatcher."""
    site = site_on_private_rabbitmq
    with (
        site.pool(modules=["tests.faults.neighbours"], queues=("steady", "troubled"), constants=CONSTANTS) as pool,
        LedgerProducer(site.database_url) as producer,
    ):
        consuming(pool)
        private_rabbitmq.ctl("eval", BREAKING["ends the connection"][0].format("steady"))
        private_rabbitmq.ctl("close_all_connections", "a test")
        waiting = [producer.publish(Steady(n=n)).job_id for n in range(20)]
        assert site.await_end(producer.publish(Hopeless(n=1)).job_id, timeout_seconds=60)["state"] == "dead"
        until(lambda: "steady" in {said["queue"] for said in mute(pool)}, timeout_seconds=30, what="the log")
        until(lambda: pool.get("/readyz")[0] == 503, what="a true readiness check")
        assert site.effects() == []
        with channel_on(private_rabbitmq.url) as channel:
            channel.queue_delete("steady")
        until(lambda: sorted(site.effects()) == sorted(waiting), timeout_seconds=90, what="all that waited")
        consuming(pool)
        assert pool.stop() == 0
