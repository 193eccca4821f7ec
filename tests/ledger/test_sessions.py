"""Connections: their settings, their errors, and what is left of them after one."""

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from tests.garbage import garbage_of
from tests.ledger.samples import accepted, count, state_of, waiting_offer
from tests.servers.ports import free_port

from penstock.ledger.admission import admit
from penstock.ledger.database import (
    Ledger,
    LedgerConfigurationError,
    LedgerUnavailable,
    Session,
    is_disconnect,
    retry_serialization,
)
from penstock.ledger.tables import jobs


def test_a_transaction_that_fails_leaves_nothing_and_the_session_goes_on(session: Session) -> None:
    """Nested ones belong to the outer."""

    def fail() -> None:
        with session.transaction():
            accepted(session)
            with session.transaction():
                accepted(session)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert count(session, jobs) == 0
    assert state_of(session, accepted(session)) == "available"


def test_a_statement_that_fails_inside_a_transaction_leaves_a_usable_session(session: Session) -> None:
    """The transaction is over, the connection is not."""

    def fail() -> None:
        with session.transaction():
            accepted(session)
            session.connection.exec_driver_sql("SELECT nonsense FROM nowhere")

    with pytest.raises(DBAPIError):
        fail()
    assert count(session, jobs) == 0
    assert state_of(session, accepted(session)) == "available"


def test_two_sessions_see_each_others_commits(ledger: Ledger) -> None:
    """Each statement is committed when it returns."""
    with ledger.session() as one, ledger.session() as two:
        assert state_of(two, accepted(one)) == "available"


def test_a_session_on_postgres_is_bounded_and_does_not_follow_the_servers_defaults(postgres: Ledger) -> None:
    """REPEATABLE READ would make ON CONFLICT raise, and some zones cannot hold every time."""
    database = postgres.url.database
    with postgres.session() as session:
        for setting in (
            "default_transaction_isolation = 'serializable'",
            "timezone = 'America/New_York'",
            "statement_timeout = 0",
            "synchronous_commit = off",
        ):
            session.connection.exec_driver_sql(f'ALTER DATABASE "{database}" SET {setting}')
    expected = {
        "transaction_isolation": "read committed",
        "timezone": "UTC",
        "lock_timeout": "5s",
        "statement_timeout": "30s",
        "idle_in_transaction_session_timeout": "15s",
        "synchronous_commit": "on",
    }
    with postgres.session() as session, session.transaction():
        shown = {name: session.connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in expected}
    assert shown == expected

    engine = postgres.engine(purpose="handlers")
    with engine.connect() as connection:
        shown = {name: connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in expected}
        assert shown == expected
        assert connection.exec_driver_sql("SHOW enable_seqscan").scalar_one() == "on"
    engine.dispose()


def test_sqlite_is_durable(sqlite_url: str) -> None:
    """WAL, and every commit synced."""
    with Ledger(sqlite_url).session() as session:
        assert session.connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        assert session.connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2


def test_sqlite_on_a_full_disk_refuses_and_recovers(sqlite_url: str) -> None:
    """What did not fit is not there, and the session can go on once there is room."""
    with Ledger(sqlite_url).session() as session:
        pages = session.connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        session.connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 20}")
        with pytest.raises(DBAPIError, match="full"):
            admit(session, [waiting_offer(b'{"n":"' + b"x" * 500_000 + b'"}', key="k")])
        assert count(session, jobs) == 0
        session.connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2000}")
        assert state_of(session, accepted(session)) == "available"


def test_handlers_on_sqlite_take_the_write_lock_with_their_first_statement(sqlite_url: str) -> None:
    """A transaction that reads first and writes later would fail when another process wrote in between."""
    ledger = Ledger(sqlite_url)
    engine = ledger.engine(purpose="handlers", pool_size=2)
    with engine.begin() as handler:
        assert handler.execute(text("SELECT COUNT(*) FROM jobs")).scalar_one() == 0
        with sqlite3.connect(str(ledger.url.database), timeout=0) as other:
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("UPDATE jobs SET attempts = 1")
            assert other.execute("SELECT COUNT(*) FROM jobs").fetchone() == (0,)
        other.close()
        handler.execute(text("UPDATE jobs SET attempts = 1"))
    engine.dispose()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nonsense", "is not a URL"),
        ("mysql://localhost/x", "'mysql'"),
        ("sqlite://", "must name a file"),
        ("sqlite:///:memory:", "must name a file"),
        ("postgresql+asyncpg://localhost/x", "'postgresql\\+asyncpg'"),
    ],
)
def test_an_address_that_cannot_serve_is_refused_with_the_name_of_the_setting(url: str, says: str) -> None:
    """Before anything connects."""
    with pytest.raises(LedgerConfigurationError, match=says) as caught:
        Ledger(url)
    assert "PENSTOCK_DATABASE_URL" in str(caught.value)


def test_plain_postgres_addresses_are_understood() -> None:
    """As every tool writes them."""
    for scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        assert Ledger(f"{scheme}://u:secret@db/jobs").url.drivername == "postgresql+psycopg"
    assert "secret" not in str(Ledger("postgresql://u:secret@db/jobs"))


def test_a_ledger_that_is_not_there_says_so_without_its_password() -> None:
    """Nobody listens on that port."""
    ledger = Ledger(f"postgresql://somebody:secret@127.0.0.1:{free_port()}/jobs")
    with pytest.raises(LedgerUnavailable, match="PENSTOCK_DATABASE_URL") as caught:
        ledger.session()
    assert "secret" not in str(caught.value)
    assert is_disconnect(caught.value)


def test_an_sqlite_file_in_a_folder_that_is_not_there_says_so(tmp_path: Path) -> None:
    """The other way to be unavailable."""
    with pytest.raises(LedgerUnavailable, match="PENSTOCK_DATABASE_URL"):
        Ledger(f"sqlite:///{tmp_path}/missing/ledger.db").session()


def test_a_session_whose_backend_was_ended_is_told_from_a_statement_that_was_refused(postgres: Ledger) -> None:
    """The one needs a new session, the other another statement."""
    with postgres.session() as admin:
        victim = postgres.session()
        pid = victim.connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        with pytest.raises(DBAPIError) as refused:
            victim.connection.exec_driver_sql("SELECT nonsense FROM nowhere")
        assert not is_disconnect(refused.value)

        admin.connection.exec_driver_sql(f"SELECT pg_terminate_backend({pid})")
        with pytest.raises(DBAPIError) as gone:
            accepted(victim)
        assert is_disconnect(gone.value)
        victim.close()


def test_a_transaction_whose_backend_was_ended_reports_that_and_not_its_rollback(postgres: Ledger) -> None:
    """The first error is the one that explains."""
    with postgres.session() as admin:
        victim = postgres.session()
        pid = victim.connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()

        def die() -> None:
            with victim.transaction():
                accepted(victim)
                admin.connection.exec_driver_sql(f"SELECT pg_terminate_backend({pid})")
                accepted(victim)

        with pytest.raises(DBAPIError) as gone:
            die()
        assert is_disconnect(gone.value)
        assert count(admin, jobs) == 0
        victim.close()


def test_a_statement_that_lost_against_another_is_tried_again() -> None:
    """Serialization failures and deadlocks: ten times, then the caller hears of it."""

    class Lost(Exception):
        sqlstate = "40P01"

    tries = []

    @retry_serialization
    def lose(times: int) -> str:
        tries.append(1)
        if len(tries) <= times:
            raise DBAPIError("", None, Lost())
        return "won"

    assert lose(3) == "won"
    tries.clear()
    with pytest.raises(DBAPIError):
        lose(100)
    assert len(tries) == 10


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ"])
def test_a_handler_may_ask_for_more_isolation(postgres: Ledger, level: str) -> None:
    """Its transaction begins as SQLAlchemy was told."""
    engine = postgres.engine(purpose="handlers")
    with engine.connect().execution_options(isolation_level=level) as connection:
        shown = connection.execute(text("SHOW transaction_isolation")).scalar()
        assert str(shown).upper() == level
    engine.dispose()


def test_a_handler_that_cannot_begin_tells_that_the_connection_is_lost(postgres: Ledger) -> None:
    engine = postgres.engine(purpose="handlers")
    with engine.connect() as connection:
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        connection.rollback()
        with postgres.session() as admin:
            admin.connection.exec_driver_sql(f"SELECT pg_terminate_backend({pid}, 10000)")
        with pytest.raises(DBAPIError) as lost:
            connection.execute(text("SELECT 1"))
        assert is_disconnect(lost.value)
    engine.dispose()


def test_a_statement_that_is_taken_at_once_leaves_nothing_for_the_collector() -> None:
    """A worker makes two for each batch, and its collector comes round seldom: megabytes would wait for it."""

    @retry_serialization
    def win() -> str:
        return "won"

    assert garbage_of(win, times=1_000) < 1_000
