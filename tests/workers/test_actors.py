"""Plain Dramatiq actors run through the same claim and settle."""

import importlib
import json
import sys
from collections.abc import Iterator
from typing import Any

import dramatiq
import pytest
from tests.workers.amqp import channel_on, put
from tests.workers.site import Site

from penstock.producers.client import Producer, Receipt
from penstock.producers.ledger_producer import LedgerProducer
from penstock.schemas import Bury, Message, Retry
from penstock.workers import PenstockBroker, Registry
from penstock.workers.broker import contract_of_actor

MODULE = "tests.workers.actors"


class Outbox:
    """An outlet that keeps what it gets."""

    def __init__(self) -> None:
        self.sent: list[tuple[Message, str]] = []

    def publish_message(self, message: Message, *, queue: str) -> None:
        self.sent.append((message, queue))


def load(outlet: Any = None) -> tuple[Registry, Any]:
    """A registry of freshly imported actors on a broker of their own, and their module."""
    sys.modules.pop(MODULE, None)
    registry = Registry.load([MODULE], broker=PenstockBroker(outlet))
    return registry, importlib.import_module(MODULE)


@pytest.fixture(params=["small", "full"])
def running(request: pytest.FixtureRequest) -> Iterator[tuple[Site, Any]]:
    """A pool that runs the actors, and their module, whose `send` leads there."""
    site: Site = request.getfixturevalue("own_site" if request.param == "full" else "own_small_site")
    with site.pool(modules=[MODULE], constants={"broker.DEFAULT_MAX_RETRIES": 3}):
        outlet = Producer(site.broker_url) if site.has_broker else LedgerProducer(site.database_url)
        registry, module = load(outlet)
        yield site, module
        registry.broker.close()


def test_actors_run_with_their_options(running: tuple[Site, Any]) -> None:
    """Arguments, coroutines, decorators, retries, throws, time limits: as their authors know them."""
    site, actors = running
    for name, actor, arguments, result in (
        ("add", actors.add, (2, 3), 5),
        ("add_async", actors.add_async, (7,), 7),
        ("decorated", actors.decorated, (8,), 8),
    ):
        message = actor.send(*arguments)
        assert site.await_end(message.message_id)["state"] == "completed"
        assert [event["result"] for event in site.sink.events("ran", job=name)] == [result]
    assert len(site.sink.events("decorated")) == 1
    for actor, reason, attempts in (
        (actors.flaky, "attempts", 3),
        (actors.divide, "permanent", 1),
        (actors.choosy, "attempts", 2),
        (actors.patient, "attempts", 2),
        (actors.slow, "attempts", 1),
    ):
        row = site.await_end(actor.send(actor.actor_name).message_id)
        assert (row["state"], row["reason"], row["attempts"]) == ("dead", reason, attempts)
        assert len(site.sink.events("started", job=actor.actor_name)) == attempts
    assert [attempt["kind"] for attempt in row["history"]] == ["timeout"]


def test_a_delay_is_a_row_and_not_a_message_in_somebodys_memory(running: tuple[Site, Any]) -> None:
    """It waits in the ledger until it is due."""
    site, actors = running
    message = actors.add.send_with_options(args=(1,), delay=600_000)
    assert site.await_state(message.message_id, "scheduled")["started_at"] is None


def test_options_on_the_wire_choose_nothing(own_site: Site) -> None:
    """Retry counts, time limits and queues are the actor's; whoever publishes cannot change them."""
    site = own_site
    with site.pool(modules=[MODULE]), channel_on(site.broker_url) as channel:
        options = {"max_retries": 50, "queue_name": "other", "time_limit": 1, "throws": "ValueError"}
        body = {"args": ["wire"], "kwargs": {}, "options": options}
        row = site.await_end(put(channel, "flaky", json.dumps(body).encode()))
        assert (row["state"], row["attempts"], row["queue"]) == ("dead", 3, "actors")


@pytest.mark.parametrize(
    ("body", "field"),
    [(b'{"args":7}', "args"), (b'{"args":[],"kwargs":[]}', "kwargs")],
)
def test_arguments_that_are_none_are_a_dead_letter(own_small_site: Site, body: bytes, field: str) -> None:
    """The text names the field."""
    registry, _ = load()
    entry = registry.find("add", 1)
    assert entry is not None
    with pytest.raises(ValueError, match=field):
        entry.read(body)


def test_what_an_actor_sends_is_one_json_message() -> None:
    """Its id is the job's, its options travel along, and its queue is where a ledger puts it."""
    outbox = Outbox()
    _, actors = load(outbox)
    sent = actors.add.send(1, b=2)
    [(message, queue)] = outbox.sent
    assert (message.id, message.type, queue) == (sent.message_id, "add", "actors")
    assert json.loads(message.body) == {"args": [1], "kwargs": {"b": 2}, "options": {}}
    assert message.due_at is None
    actors.add.send_with_options(args=(1,), delay=5000)
    assert outbox.sent[1][0].due_at is not None


def test_a_broker_without_an_outlet_says_what_is_missing() -> None:
    """At the first `send`, not at import."""
    _, actors = load()
    with pytest.raises(RuntimeError, match="give PenstockBroker an outlet"):
        actors.add.send(1)


def test_arguments_that_json_cannot_hold_fail_at_the_sender() -> None:
    """Nothing is published."""
    outbox = Outbox()
    _, actors = load(outbox)
    with pytest.raises(TypeError):
        actors.add.send(object())
    assert outbox.sent == []


def test_the_options_of_an_actor_are_a_contract() -> None:
    """Bounds that were taken off become the largest that there are."""
    _, actors = load()
    plain, unlimited, choosy = (contract_of_actor(actor) for actor in (actors.add, actors.unlimited, actors.choosy))
    assert (plain.queue, plain.max_attempts, plain.timeout_seconds) == ("actors", 21, 600.0)
    assert (unlimited.max_attempts, unlimited.timeout_seconds) == (1000, 7 * 86400)
    assert choosy.max_attempts == 1000
    assert choosy.retry.decide(2, ValueError()) == Bury("attempts")
    assert isinstance(choosy.retry.decide(1, ValueError()), Retry)


def test_a_retry_that_names_its_delay_gets_it() -> None:
    """`raise Retry(delay=…)`, in milliseconds."""
    _, actors = load()
    decided = contract_of_actor(actors.patient).retry.decide(1, dramatiq.errors.Retry("later", delay=2500))
    assert decided == Retry(2.5)


def test_both_producers_are_outlets(broker_url: str, migrated_database_url: str) -> None:
    """`publish_message` of each gives a receipt that says where the job is."""
    message = Message.raw(type="add", body=b'{"args":[1]}')
    ledger = LedgerProducer(migrated_database_url)
    receipt: Receipt = ledger.publish_message(message, queue="actors")
    assert (receipt.job_id, receipt.durability) == (message.id, "ledger")
    with channel_on(broker_url) as channel, Producer(broker_url) as producer:
        channel.exchange_declare("penstock.jobs", "topic", durable=True)  # type: ignore[arg-type]
        channel.queue_declare("actors", durable=True)
        channel.queue_bind("actors", "penstock.jobs", routing_key="add")
        assert producer.publish_message(message, queue="actors").durability == "broker"
