"""A job is in the outbox if, and only if, the service's own transaction has committed."""

import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from sqlalchemy import Engine, MetaData, create_engine, event, inspect, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from tests.producers.queues import AddRow

from penstock.producers import InvalidJob, Publish
from penstock.producers.outbox import enqueue, enqueue_async, enqueue_many
from penstock.producers.outbox.address import open_store
from penstock.producers.outbox.rows import read_row
from penstock.producers.outbox.store import Store
from penstock.producers.outbox.table import outbox_table
from penstock.schemas import Job, Keyring, Message, Sensitive


def messages(store: Store) -> list[Message]:
    """What a relay would publish now."""
    rows = store.take(after=None, limit=1000, without=[])
    store.settle(published=[], refused=[])
    return [read_row(row) for row in rows]


def ids(url: str) -> list[str]:
    """The ids of the jobs in the outbox, on a connection of their own."""
    with closing(open_store(url)) as store:
        return [message.id for message in messages(store)]


def test_a_job_comes_out_as_it_was_enqueued(engine: Engine, store: Store) -> None:
    """With all that the wire has."""
    due_at = datetime(2031, 2, 3, 4, 5, 6, 789000, tzinfo=UTC)
    with engine.begin() as connection:
        job_id = enqueue(
            connection,
            AddRow(n=7, text="zażółć"),
            key="row-7",
            due_at=due_at,
            tenant="acme",
            correlation_id="c-1",
            traceparent="00-1-2-01",
            reply_to="penstock.replies.billing",
            app_id="billing",
        )
    [message] = messages(store)
    assert message == Message(
        id=job_id,
        type="demo.add_row",
        version=3,
        body=AddRow(n=7, text="zażółć").to_body(),
        key="row-7",
        due_at=due_at,
        tenant="acme",
        correlation_id="c-1",
        traceparent="00-1-2-01",
        reply_to="penstock.replies.billing",
        app_id="billing",
    )


def test_a_rollback_takes_the_job_with_it(engine: Engine, outbox_url: str) -> None:
    """And what else the transaction did."""
    with engine.connect() as connection:
        connection.execute(text("CREATE TABLE orders (n INTEGER)"))
        connection.commit()
        connection.execute(text("INSERT INTO orders VALUES (1)"))
        enqueue(connection, AddRow(n=1))
        connection.rollback()
        connection.execute(text("INSERT INTO orders VALUES (2)"))
        kept = enqueue(connection, AddRow(n=2))
        connection.commit()
        assert connection.execute(text("SELECT n FROM orders")).scalars().all() == [2]
    assert ids(outbox_url) == [kept]


def test_a_session_enqueues_in_its_transaction(engine: Engine, outbox_url: str) -> None:
    """As its connection would."""
    with Session(engine) as session:
        enqueue(session, AddRow(n=1))
        session.rollback()
        kept = enqueue(session, AddRow(n=2))
        session.commit()
    assert ids(outbox_url) == [kept]


def test_many_at_once_keep_their_order(engine: Engine, outbox_url: str) -> None:
    """Jobs, pairs and `Publish` items, as `publish_many` takes them."""
    with engine.begin() as connection:
        added = enqueue_many(connection, [AddRow(n=1), (AddRow(n=2), "two"), Publish(AddRow(n=3), tenant="acme")])
        assert enqueue_many(connection, []) == []
    assert ids(outbox_url) == added


def test_psycopg_connections_and_cursors(postgres_url: str) -> None:
    """Without SQLAlchemy; a cursor's results stay its own."""
    with psycopg.connect(postgres_url.replace("+psycopg", "")) as connection:
        first = enqueue(connection, AddRow(n=1), delay=timedelta(hours=1))
        with connection.cursor() as cursor:
            cursor.execute("SELECT 42")
            second = enqueue(cursor, AddRow(n=2))
            assert cursor.fetchone() == (42,)
    assert ids(postgres_url) == [first, second]


def test_sqlite3_connections(sqlite_file_url: str) -> None:
    """Without SQLAlchemy."""
    with closing(sqlite3.connect(sqlite_file_url.removeprefix("sqlite:///"))) as connection:
        enqueue(connection, AddRow(n=1))
        connection.rollback()
        kept = enqueue(connection, AddRow(n=2), delay=timedelta(hours=1))
        connection.commit()
    assert ids(sqlite_file_url) == [kept]


async def enqueue_on_asyncio(url: str) -> list[str]:
    """One job each over SQLAlchemy's connection and session, and psycopg's connection; and one that is rolled back."""
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        added = await enqueue_async(connection, AddRow(n=1))
    async with AsyncSession(engine) as session:
        await enqueue_async(session, AddRow(n=0))
        await session.rollback()
        added += await enqueue_async(session, (AddRow(n=2), "two"))
        await session.commit()
    await engine.dispose()
    async with await psycopg.AsyncConnection.connect(url.replace("+psycopg", "")) as raw:
        added += await enqueue_async(raw, AddRow(n=3), AddRow(n=4))
    return added


def test_asyncio(postgres_url: str) -> None:
    """The same under `await`."""
    added = asyncio.run(enqueue_on_asyncio(postgres_url))
    assert len(added) == 4
    assert ids(postgres_url) == added


def test_a_connection_that_commits_by_itself_is_refused(postgres_url: str, sqlite_file_url: str) -> None:
    """The job would run though the service's transaction rolls back; inside a transaction it is welcome."""
    with psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True) as connection:
        with pytest.raises(TypeError, match="turn autocommit off"):
            enqueue(connection, AddRow(n=1))
        with connection.transaction():
            enqueue(connection, AddRow(n=2))
    for url in (postgres_url, sqlite_file_url):
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection, pytest.raises(TypeError, match="turn autocommit off"):
            enqueue(connection, AddRow(n=1))
        engine.dispose()
    with closing(sqlite3.connect(sqlite_file_url.removeprefix("sqlite:///"), isolation_level=None)) as alone:
        with pytest.raises(TypeError, match="turn autocommit off"):
            enqueue(alone, AddRow(n=1))
        alone.execute("BEGIN")
        enqueue(alone, AddRow(n=2))
        alone.execute("COMMIT")
    assert (len(ids(postgres_url)), len(ids(sqlite_file_url))) == (1, 1)


def test_an_sqlite_engine_that_says_begin_itself_is_welcome(sqlite_file_url: str) -> None:
    """As SQLAlchemy's documentation, and our own ledger, have it."""
    engine = create_engine(sqlite_file_url)

    @event.listens_for(engine, "connect")
    def _no_legacy_transactions(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None

    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    with engine.connect() as connection:
        enqueue(connection, AddRow(n=1))
        connection.rollback()
        kept = enqueue(connection, AddRow(n=2))
        connection.commit()
    engine.dispose()
    assert ids(sqlite_file_url) == [kept]


def test_a_bad_job_is_refused_before_anything_is_written(engine: Engine, outbox_url: str) -> None:
    """The transaction stays usable."""
    with engine.begin() as connection:
        with pytest.raises(InvalidJob, match="time zone"):
            enqueue(connection, AddRow(n=1), due_at=datetime(2031, 1, 1))  # noqa: DTZ001 - the point of it
        kept = enqueue(connection, AddRow(n=2))
    assert ids(outbox_url) == [kept]


CARD = "4111111111111111"


class Payment(Job, type="demo.payment"):
    """A job with something to hide."""

    card: Sensitive[str]


def test_sensitive_fields_never_reach_the_service_s_own_table_in_clear(engine: Engine, store: Store) -> None:
    """Sealed for this job, with what tells its payload from another under the same key."""
    keyring = Keyring({"k": bytes(32)})
    with engine.begin() as connection:
        enqueue(connection, Payment(card=CARD), key="pay", keyring=keyring)
        with pytest.raises(InvalidJob, match="keyring"):
            enqueue(connection, Payment(card=CARD))
    [message] = messages(store)
    assert CARD.encode() not in message.body
    assert message.payload_hash == keyring.digests(Payment(card=CARD).clear_body() or b"", key="pay")


def test_something_that_is_no_connection_is_named(engine: Engine) -> None:
    """An engine has no transaction."""
    with pytest.raises(TypeError, match="needs a connection of SQLAlchemy"):
        enqueue(object(), AddRow(n=1))
    with pytest.raises(TypeError, match="needs a connection"):
        enqueue(engine, AddRow(n=1))
    with pytest.raises(TypeError, match="await enqueue_async"):
        enqueue(AsyncSession(), AddRow(n=1))


def test_the_table_for_sqlalchemy_is_what_the_ddl_makes(outbox_url: str, engine: Engine) -> None:
    """Column by column, index by index."""
    by_ddl = described(engine)
    metadata = MetaData()
    outbox_table(metadata)
    metadata.drop_all(engine)
    metadata.create_all(engine)
    assert described(engine) == by_ddl


def described(engine: Engine) -> object:
    """The outbox as the database has it."""
    found = inspect(engine)
    columns = [
        (column["name"], str(column["type"]), column["nullable"], str(column["default"]))
        for column in found.get_columns("penstock_outbox")
    ]
    indexes = [(index["name"], index["column_names"]) for index in found.get_indexes("penstock_outbox")]
    return columns, indexes, found.get_pk_constraint("penstock_outbox")["constrained_columns"]
