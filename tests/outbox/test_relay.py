"""The relay: everything that is committed is published and then deleted, and nothing holds up the rest."""

from contextlib import closing

import pytest
from sqlalchemy import Connection, Engine, create_engine, text
from tests.outbox.relays import relaying
from tests.producers.queues import AddRow, NobodyListens, Queues
from tests.servers.ports import free_port
from tests.waiting import until

from penstock.producers.outbox import enqueue, enqueue_many, postgres, relay
from penstock.producers.outbox.address import open_store
from penstock.producers.outbox.store import Lag, Store


class Full(NobodyListens, type="demo.full"):
    """A job whose queue takes nothing."""


def is_empty(store: Store) -> bool:
    """Whether nothing waits or is held."""
    return store.lag()[:2] == (0, 0)


def test_three_relays_publish_each_row_once(engine: Engine, store: Store, outbox_url: str, queues: Queues) -> None:
    """One skips what another has; none is left."""
    with engine.begin() as connection:
        added = enqueue_many(connection, (AddRow(n=n) for n in range(3000)))
    with relaying(outbox_url, queues.url, relays=3) as found:
        until(lambda: is_empty(store), timeout_seconds=60, what="an empty outbox")
    # a relay counts what it has deleted, so all is counted once it has stopped
    assert sum(it.count("penstock_outbox_published_total") for it in found) == 3000
    assert sorted(queues.ids()) == added


def test_a_row_that_commits_late_is_not_skipped(postgres_url: str, queues: Queues) -> None:
    """Its id lies in front of thousands that were published before it was there."""
    engine = create_engine(postgres_url)
    with closing(open_store(postgres_url)) as store, engine.connect() as late, relaying(postgres_url, queues.url):
        first = enqueue(late, AddRow(n=0))
        for start in range(1, 5000, 1000):
            with engine.begin() as connection:
                enqueue_many(connection, (AddRow(n=n) for n in range(start, start + 1000)))
        until(lambda: is_empty(store), timeout_seconds=60, what="an outbox that looks empty")
        assert len(queues.ids()) == 5000
        late.commit()
        until(lambda: is_empty(store), what="an empty outbox")
    assert queues.ids() == [first]
    engine.dispose()


def test_what_no_broker_takes_is_held_with_its_reason_and_the_others_go_on(
    engine: Engine, store: Store, outbox_url: str, queues: Queues
) -> None:
    """An unknown type, a body that is too large, an id that is no UUIDv7, a time that no clock shows."""
    with engine.begin() as connection:
        unknown = enqueue(connection, NobodyListens())
        large, dated = enqueue_many(connection, [AddRow(n=1), AddRow(n=2)])
        kept = enqueue(connection, AddRow(n=3))
        change(connection, large, payload=b'{"text": "' + b"x" * 1_100_000 + b'"}')
        change(connection, dated, due_at="infinity" if engine.dialect.name == "postgresql" else "some day")
        foreign = "6f1d7c1e-2f0a-4a53-9d2c-6a1f0e9b7c11"
        change(connection, enqueue(connection, AddRow(n=4)), id=foreign)
    with relaying(outbox_url, queues.url) as [it]:
        until(lambda: store.lag().waiting == 0, what="an outbox with nothing but held rows")
        until(lambda: it.count("penstock_outbox_published_total") == 1, what="the metric")
    assert queues.ids() == [kept]
    reasons = {row.id: row.reason for row in store.held(limit=10)}
    assert reasons.keys() == {unknown, large, dated, foreign}
    assert "no queue is bound for type demo.nobody_listens" in reasons[unknown]
    assert "at most 1048576 are allowed" in reasons[large]
    assert "due-at must be a time" in reasons[dated]
    assert "set it to a UUIDv7" in reasons[foreign]


def change(connection: Connection, job_id: str, **columns: object) -> None:
    """Write a row as somebody might who does not use our client."""
    casts = {"id": "uuid", "due_at": "timestamptz"} if connection.dialect.name == "postgresql" else {}
    marks = {name: f"CAST(:{name}_ AS {casts[name]})" if name in casts else f":{name}_" for name in ("id", *columns)}
    sets = ", ".join(f"{name} = {marks[name]}" for name in columns)
    where = marks["id"].replace(":id_", ":job_id")
    connection.execute(
        text(f"UPDATE penstock_outbox SET {sets} WHERE id = {where}"),
        {"job_id": job_id} | {f"{name}_": value for name, value in columns.items()},
    )


def test_a_held_row_is_published_once_somebody_takes_it(
    engine: Engine, store: Store, outbox_url: str, queues: Queues
) -> None:
    """When its time comes, or at once when somebody says so."""
    with engine.begin() as connection:
        job_id = enqueue(connection, NobodyListens())
    with relaying(outbox_url, queues.url):
        until(lambda: store.lag().held == 1, what="a held row")
        queues.bind(NobodyListens)
        assert store.retry_held(type="demo.add_row") == 0
        assert store.retry_held(type=None) == 1
        until(lambda: is_empty(store), what="an empty outbox")
    assert queues.ids() == [job_id]


def test_a_full_queue_does_not_hold_up_the_others(
    engine: Engine, store: Store, outbox_url: str, queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows wait in the outbox until there is room."""
    monkeypatch.setattr(relay, "PUBLISH_SECONDS", 0.5)
    monkeypatch.setattr(relay, "RETRY_PUBLISH_SECONDS", 0.2)
    queues.bind(Full, {"x-max-length": 1, "x-overflow": "reject-publish"})
    with engine.begin() as connection:
        enqueue_many(connection, [Full(n=n) for n in range(5)])
        enqueue_many(connection, [AddRow(n=n) for n in range(500)])
    with relaying(outbox_url, queues.url):
        until(lambda: store.lag().waiting <= 4, timeout_seconds=60, what="the rows of the other type to be published")
        with engine.begin() as connection:
            last = enqueue(connection, AddRow(n=501))
        taken: list[str] = []
        until(lambda: last in queues.fill(taken), timeout_seconds=60, what="a row that came later")
        until(lambda: queues.fill(taken) and is_empty(store), timeout_seconds=60, what="an empty outbox")
    taken += queues.ids()
    assert len(set(taken)) == 506
    assert store.lag().held == 0


class _Crash(Exception):
    """The process is gone."""


def test_a_crash_between_publish_and_delete_publishes_the_same_job_again(
    engine: Engine, outbox_url: str, queues: Queues
) -> None:
    """Under its id: the claim absorbs the second one."""
    with engine.begin() as connection:
        added = enqueue_many(connection, [AddRow(n=n) for n in range(10)])
    crashes = [_Crash()]

    def open_once_broken() -> Store:
        store = open_store(outbox_url)
        if crashes:
            error = crashes.pop()

            def settle(**_: object) -> None:
                raise error

            store.settle = settle  # type: ignore[method-assign]
        return store

    with closing(open_store(outbox_url)) as store, relaying(outbox_url, queues.url, open_=open_once_broken):
        until(lambda: is_empty(store), what="an empty outbox")
    assert sorted(queues.ids()) == sorted(added * 2)


def test_an_idle_relay_is_woken_up(postgres_url: str, queues: Queues, monkeypatch: pytest.MonkeyPatch) -> None:
    """By NOTIFY, however long its polls are apart."""
    monkeypatch.setattr(relay, "POLL_SECONDS", 60.0)
    engine = create_engine(postgres_url)
    watched = text(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 2 AND mode = 'ExclusiveLock'"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    with engine.connect() as connection, relaying(postgres_url, queues.url) as [it]:
        for n in range(3):
            until(lambda: connection.execute(watched).scalar(), what="a relay on the watch")
            connection.commit()
            enqueue(connection, AddRow(n=n))
            connection.commit()
            until(queues.ids, what="the job")
        it.relay.request_stop()
        enqueue(connection, AddRow(n=3))  # so that the relay ends its wait
        connection.commit()
    engine.dispose()


def test_only_one_relay_works_on_an_sqlite_file(sqlite_file_url: str) -> None:
    """The others stand by, and take over when it is gone."""
    engine = create_engine(sqlite_file_url)
    with engine.begin() as connection:
        enqueue(connection, AddRow(n=1))
    engine.dispose()
    with closing(open_store(sqlite_file_url)) as second:
        with closing(open_store(sqlite_file_url)) as first:
            assert len(first.take(after=None, limit=10, without=[])) == 1
            assert second.take(after=None, limit=10, without=[]) == []
        assert len(second.take(after=None, limit=10, without=[])) == 1


def test_without_a_broker_everything_stays(
    engine: Engine, store: Store, outbox_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the relay does not say that it is well."""
    monkeypatch.setattr(relay, "PUBLISH_SECONDS", 0.3)
    with engine.begin() as connection:
        enqueue_many(connection, [AddRow(n=n) for n in range(10)])
    with relaying(outbox_url, f"amqp://127.0.0.1:{free_port()}") as [it]:
        it.relay.passed_at -= 1000
        until(lambda: it.count("penstock_outbox_rows") == 10, what="the metric of the lag")
        until(lambda: it.count("penstock_outbox_failures_total") >= 10, timeout_seconds=30, what="a failed batch")
        assert not it.relay.is_healthy
        assert it.count("penstock_relay_last_pass_timestamp_seconds") == 0
    assert store.lag()[:2] == (10, 0)


def test_what_is_committed_is_published_though_it_cannot_be_counted(
    postgres_url: str, queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database has ended the count, as it took too long; only a metric is old."""
    monkeypatch.setattr(postgres, "_LAG", "SELECT 1 / 0, 0, 0")
    engine = create_engine(postgres_url)
    with engine.begin() as connection:
        added = enqueue(connection, AddRow(n=1))
    engine.dispose()
    with relaying(postgres_url, queues.url):
        arrived: list[str] = []
        until(lambda: queues.fill(arrived) == [added], what="the job")


def test_the_lag_is_told_in_rows_and_seconds(engine: Engine, store: Store) -> None:
    """The age is that of the oldest row which is not held."""
    assert store.lag() == Lag(0, 0, 0.0)
    with engine.begin() as connection:
        enqueue_many(connection, [AddRow(n=n) for n in range(3)])
        connection.execute(text("UPDATE penstock_outbox SET created_at = '2020-01-01 00:00:00' WHERE retry_at IS NULL"))
    lag = store.lag()
    assert (lag.waiting, lag.held) == (3, 0)
    assert lag.oldest_seconds > 86400
