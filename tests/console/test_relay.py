"""`penstock relay` and `penstock outbox`."""

from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import psycopg
import pytest
from sqlalchemy import create_engine
from tests.console.command import Command, Starter
from tests.producers.queues import AddRow, NobodyListens, Queues
from tests.servers.ports import free_port
from tests.waiting import until

from penstock.producers.outbox import enqueue


@pytest.fixture
def service(
    penstock: Command, database_url: str, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[psycopg.Connection]:
    """A service's own database, with the outbox that `penstock outbox ddl` prints."""
    monkeypatch.setenv("PENSTOCK_OUTBOX_DATABASE_URL", database_url)
    monkeypatch.setenv("PENSTOCK_BROKER_URL", broker_url)
    with psycopg.connect(database_url.replace("+psycopg", "")) as connection:
        connection.execute(penstock("outbox", "ddl").out.encode())
        connection.commit()
        yield connection


def test_what_a_service_has_committed_is_published(
    running: Starter, service: psycopg.Connection, broker_url: str
) -> None:
    """By two relays; one port tells the lag and that it passes."""
    port = free_port()
    with Queues(broker_url) as queues:
        queues.bind(AddRow)
        relays = [running("relay", "--metrics-port", str(port)), running("relay", "--batch", "10")]
        added = [enqueue(service, AddRow(n=n)) for n in range(100)]
        service.commit()
        arrived: list[str] = []
        until(lambda: len(queues.fill(arrived)) == 100, timeout_seconds=30, what="all jobs")
        assert sorted(arrived) == added
        for relay in relays:
            relay.wait_for('"event": "relaying"')  # the other one may have published all of them

    def get(path: str) -> bytes:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return bytes(answer.read())

    assert get("/healthz") == b"the relay passes\n"
    metrics = get("/metrics")
    for name in (b"penstock_outbox_rows", b"penstock_outbox_held_rows", b"penstock_outbox_oldest_seconds"):
        assert name in metrics
    assert [relay.stop() for relay in relays] == [0, 0]


def test_what_is_held_is_listed_and_can_be_tried_again(
    penstock: Command, running: Starter, service: psycopg.Connection, broker_url: str
) -> None:
    """With the reason; the payload is not shown."""
    job_id = enqueue(service, NobodyListens(n=471_147_114_711))
    service.commit()
    with Queues(broker_url) as queues:
        running("relay").wait_for("held back")
        until(lambda: penstock("outbox", "list", "--json").document["held"] == 1, what="the held row")
        listed = penstock("outbox", "list", width="200").out
        assert "0 rows wait; 1 are held" in listed
        assert job_id in listed
        assert "no queue is bound for type demo.nobody_listens" in listed
        assert "471147114711" not in listed
        [row] = penstock("outbox", "list", "--json").document["rows"]
        assert (row["id"], row["tries"]) == (job_id, 1)
        assert row["retry_at"] > row["created_at"]
        queues.bind(NobodyListens)
        assert penstock("outbox", "retry", "--type", "demo.other").code == 1
        assert penstock("outbox", "retry").out == "1 held rows are tried again\n"
        until(lambda: job_id in queues.ids(), what="the job")


def test_an_outbox_is_made_where_there_is_none(penstock: Command, database_url: str, tmp_path: Path) -> None:
    """Once, and what is in it stays; on each kind of database."""
    for url in (database_url, f"sqlite:///{tmp_path / 'shop.db'}"):
        assert penstock("outbox", "create", "--database-url", url).out == "the outbox is made\n"
        engine = create_engine(url)
        with engine.begin() as connection:
            enqueue(connection, AddRow(n=1))
        engine.dispose()
        assert penstock("outbox", "create", "--database-url", url).out == "there is an outbox already\n"
        assert penstock("outbox", "list", "--database-url", url).out.startswith("1 rows wait")


def test_what_is_missing_is_said_at_once(penstock: Command, database_url: str, broker_url: str) -> None:
    """The setting, the table, the server, the broker; no password in any of it."""
    answer = penstock("relay")
    assert (answer.code, "PENSTOCK_OUTBOX_DATABASE_URL" in answer.error) == (2, True)
    answer = penstock("relay", "--database-url", database_url)
    assert (answer.code, "PENSTOCK_BROKER_URL" in answer.error) == (2, True)
    answer = penstock("relay", "--database-url", database_url, "--broker-url", broker_url)
    assert (answer.code, "penstock outbox create" in answer.error) == (1, True)
    nowhere = f"postgresql://app:secret@127.0.0.1:{free_port()}/app"
    answer = penstock("relay", "--database-url", nowhere, "--broker-url", broker_url)
    assert (answer.code, "secret" in answer.error) == (3, False)
    answer = penstock("outbox", "list", "--database-url", "mysql://app:secret@localhost/app")
    assert (answer.code, "secret" in answer.error) == (2, False)
    assert "write postgresql://" in answer.error
    answer = penstock("outbox", "create", "--database-url", "sqlite:///nowhere/shop.db")
    assert (answer.code, "there is no folder nowhere" in answer.error) == (3, True)
    answer = penstock("outbox", "list", "--database-url", "sqlite:///nowhere.db")
    assert (answer.code, "no database file nowhere.db" in answer.error) == (3, True)
