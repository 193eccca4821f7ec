"""What a worker knows: versions, old ones through upcasters, and names that a type had before."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.one_worker import OneWorker

from penstock.producers import KeyConflict
from penstock.producers.ledger_producer import LedgerProducer
from penstock.schemas import ContractError, Job, Message, Payload, upcaster
from penstock.workers import Context, PenstockBroker, Registry, handler
from penstock.workers.handler import TAG


class Greet(Job, type="demo.greet", version=2, queue="demo", aliases=("demo.hello", "demo.hi")):
    """Was `demo.hello`, then `demo.hi`."""

    name: str
    polite: bool


@upcaster(Greet, from_version=1)
def politely(payload: Payload) -> Payload:
    """There was only one way."""
    return payload | {"polite": True}


@handler(Greet)
def greet(job: Greet, ctx: Context) -> None:
    """Say it."""
    ctx.result = f"{'Good day' if job.polite else 'Hi'}, {job.name}"


def a_registry(*functions: Callable[..., Any]) -> Registry:
    """What a worker with these handlers knows."""
    registry = Registry(PenstockBroker())
    for function in functions:
        registry.add(getattr(function, TAG), function)
    return registry


def handled(job_class: type[Job]) -> Callable[..., Any]:
    """A handler of this class that does nothing."""

    @handler(job_class)
    def nothing(job: Job, ctx: Context) -> None:
        """Nothing."""

    return nothing


def test_every_name_and_every_version_with_a_way_leads_to_the_handler() -> None:
    """And each name is bound, so that RabbitMQ routes what an old release publishes."""
    registry = a_registry(greet)
    for name in ("demo.greet", "demo.hello", "demo.hi"):
        assert registry.knows_type(name)
        for version in (1, 2):
            entry = registry.find(name, version)
            assert entry is not None
            assert entry.contract is Greet.contract()
        assert registry.find(name, 3) is None
    assert registry.bindings() == {"demo": {"demo.greet", "demo.hello", "demo.hi"}}
    assert [entry.contract.type for entry in registry] == ["demo.greet"]


@pytest.mark.parametrize("job_type", ["demo.greet", "demo.hello"])
def test_an_old_payload_under_an_old_name_runs_and_stays_what_it_was(ledger_url: str, job_type: str) -> None:
    """The ledger shows what was published, byte for byte."""
    message = Message.raw(type=job_type, version=1, body=b'{"name": "Ada"}')
    with OneWorker(ledger_url, [greet]) as worker:
        LedgerProducer(ledger_url).publish_message(message, queue="demo")
        assert worker.run_due() == [message.id]
        row = worker.show(message.id)
    assert (row["state"], row["type"], row["version"], row["payload"]) == ("completed", job_type, 1, message.body)
    assert row["result"] == b'"Good day, Ada"'


def test_a_renamed_type_shares_its_keys_with_the_release_that_has_the_old_name(ledger_url: str) -> None:
    """One key is one job over the whole of a rolling deploy, whichever release publishes first."""

    class Hello(Job, type="demo.hello", version=2, queue="demo"):
        name: str
        polite: bool

    old, new = Hello(name="Ada", polite=False), Greet(name="Ada", polite=False)
    with OneWorker(ledger_url, [greet]) as worker:
        for key, (first, second) in {"a": (old, new), "b": (new, old)}.items():
            assert worker.publish(second, key=key) == worker.publish(first, key=key)
        with pytest.raises(KeyConflict) as refused:
            worker.publish(Greet(name="Bob", polite=False), key="a")
        assert worker.show(str(refused.value.job_id))["reason"] == "key_conflict"
        assert len(worker.run_all()) == 2


def test_a_missing_link_stops_the_worker_at_its_start() -> None:
    """Not the first old payload."""

    class Five(Job, type="demo.five", version=5):
        n: int

    upcaster(Five, from_version=2)(dict)
    with pytest.raises(ContractError, match="no upcaster from version 3, 4"):
        a_registry(handled(Five))


@pytest.mark.parametrize("upcast_first", [False, True])
def test_a_version_with_a_handler_and_an_upcaster_is_refused(*, upcast_first: bool) -> None:
    """Whichever comes first."""

    class One(Job, type="demo.both", version=1):
        n: int

    class Two(Job, type="demo.both", version=2):
        n: int

    upcaster(Two, from_version=1)(dict)
    functions = [handled(One), handled(Two)]
    with pytest.raises(ContractError, match=r"payloads of demo.both v1 have two ways to go"):
        a_registry(*functions[:: -1 if upcast_first else 1])


@pytest.mark.parametrize("alias_first", [False, True])
def test_a_name_belongs_to_one_type(*, alias_first: bool) -> None:
    """An alias of one is not another, nor its alias."""

    class Old(Job, type="demo.hi"):
        n: int

    functions = [handled(Old), greet]
    with pytest.raises(ContractError, match="share a name: an alias belongs to one type"):
        a_registry(*functions[:: -1 if alias_first else 1])


def test_all_versions_of_a_type_have_the_same_names() -> None:
    """Else its keys would count under two of them."""

    class Third(Job, type="demo.greet", version=3, queue="demo"):
        n: int

    with pytest.raises(ContractError, match=r"demo.greet has different aliases in different versions"):
        a_registry(greet, handled(Third))
