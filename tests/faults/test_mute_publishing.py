"""Relay and dispatcher in front of a queue that RabbitMQ has and that confirms nothing: its channel hangs with it."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine
from tests.faults.test_mute_queues import BREAKING, broken
from tests.ledger.samples import put
from tests.outbox.relays import relaying
from tests.producers.queues import AddRow, NobodyListens, Queues
from tests.servers.rabbitmq import PrivateRabbitMQ
from tests.waiting import until
from tests.workers.amqp import ready
from tests.workers.test_dispatcher import dispatching

from penstock.ledger.database import Ledger
from penstock.producers.outbox import DDL, enqueue_many, relay
from penstock.producers.outbox.address import open_store
from penstock.workers import dispatcher, topology

pytestmark = pytest.mark.faults


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue has two seconds to confirm, where it has ten otherwise."""
    for module in (dispatcher, relay):
        monkeypatch.setattr(module, "PUBLISH_SECONDS", 2.0)


@pytest.mark.parametrize("how", BREAKING)
def test_a_queue_that_confirms_nothing_holds_up_no_row_of_another_type(
    private_rabbitmq: PrivateRabbitMQ, database_url: str, how: str
) -> None:
    """Its own rows are published when it has a leader again."""
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql(DDL["postgresql"])

    def enqueued(*jobs: Any) -> list[str]:
        with engine.begin() as connection:
            return enqueue_many(connection, jobs)

    with Queues(private_rabbitmq.url) as queues, closing(open_store(database_url)) as store:
        queues.bind(AddRow)
        queues.bind(NobodyListens)
        with broken(private_rabbitmq, NobodyListens.contract().type, how):
            waiting = enqueued(NobodyListens(), AddRow(n=1))
            with relaying(database_url, private_rabbitmq.url):
                until(lambda: store.lag()[:2] == (1, 0), timeout_seconds=60, what="the row of the other type to go")
                enqueued(AddRow(n=2))
                until(lambda: store.lag()[:2] == (1, 0), timeout_seconds=30, what="another one to go")
        with relaying(database_url, private_rabbitmq.url):
            until(lambda: store.lag()[:2] == (0, 0), timeout_seconds=60, what="an empty outbox")
    engine.dispose()
    assert waiting


@pytest.mark.parametrize("how", BREAKING)
def test_a_queue_that_confirms_nothing_holds_up_no_job_of_another_queue(
    private_rabbitmq: PrivateRabbitMQ, migrated_database_url: str, how: str, tmp_path: Path
) -> None:
    """It comes before the other one in the alphabet."""
    url = private_rabbitmq.url
    topology.declare(url, {"a-mute": {"a.mute"}, "b-free": {"b.free"}}, name="test")
    with Ledger(migrated_database_url).session() as session, broken(private_rabbitmq, "a-mute", how):
        put(session, queue="a-mute", type="a.mute")
        put(session, queue="b-free", type="b.free")
        with dispatching(migrated_database_url, url, tmp_path):
            until(lambda: (ready(url, "b-free") or 0) >= 1, timeout_seconds=60, what="the job of the other queue")
            put(session, queue="b-free", type="b.free")
            until(lambda: (ready(url, "b-free") or 0) >= 2, timeout_seconds=30, what="another one")
