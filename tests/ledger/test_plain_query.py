"""Queries that go past SQLAlchemy: what it would have told of them is told all the same."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from penstock.ledger.database import Ledger, Session, is_disconnect, sqlstate
from penstock.ledger.plain_query import run_plainly

TABLE = """
    CREATE TABLE orders (name TEXT UNIQUE DEFERRABLE INITIALLY DEFERRED);
    INSERT INTO orders VALUES ('in clear text')
"""


@pytest.fixture
def admin(postgres: Ledger) -> Iterator[Session]:
    """A session of the engine's, with a table that is checked at COMMIT."""
    with postgres.session() as session:
        session.connection.exec_driver_sql(TABLE)
        yield session


@pytest.fixture
def connection(postgres: Ledger, admin: Session) -> Iterator[Connection]:
    """A connection of a handler's."""
    engine = postgres.engine(purpose="handlers")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def orders(admin: Session) -> int:
    return int(admin.connection.exec_driver_sql("SELECT count(*) FROM orders").scalar_one())


def test_it_runs_in_the_transaction_of_the_connection(connection: Connection, admin: Session) -> None:
    """A transaction that has begun is gone on with, and rolled back like any other."""
    connection.execute(text("INSERT INTO orders VALUES ('one')"))
    run_plainly(connection, "INSERT INTO orders VALUES ('two')")
    assert orders(admin) == 1
    connection.rollback()
    assert orders(admin) == 1

    run_plainly(connection, "INSERT INTO orders VALUES ('three'); COMMIT")
    assert orders(admin) == 2


def test_it_begins_a_transaction_where_there_is_none(connection: Connection, admin: Session) -> None:
    """All of its statements count, or none."""
    with pytest.raises(DBAPIError) as refused:
        run_plainly(connection, "INSERT INTO orders VALUES ('one'); SELECT 1 / 0; COMMIT")
    assert sqlstate(refused.value) == "22012"
    connection.rollback()
    assert orders(admin) == 1


def test_a_row_that_is_refused_at_the_commit_is_shown_to_nobody(connection: Connection) -> None:
    with pytest.raises(IntegrityError, match="orders_name_key") as refused:
        run_plainly(connection, "INSERT INTO orders VALUES ('in clear text'); COMMIT")
    assert "clear text" not in f"{refused.value} {refused.value.orig}"
    connection.rollback()
    assert connection.execute(text("SELECT 1")).scalar() == 1


def test_a_lost_connection_is_known_as_lost(connection: Connection, admin: Session) -> None:
    pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    admin.connection.exec_driver_sql(f"SELECT pg_terminate_backend({pid}, 10000)")

    with pytest.raises(DBAPIError) as lost:
        run_plainly(connection, "SELECT 1; COMMIT")
    assert is_disconnect(lost.value)
    assert connection.invalidated


def test_what_the_server_did_not_like_before_is_no_reason_to_commit(connection: Connection, admin: Session) -> None:
    """A handler that swallows an error has a transaction that nothing but a rollback ends."""
    connection.execute(text("INSERT INTO orders VALUES ('one')"))
    with pytest.raises(DBAPIError):
        connection.execute(text("SELECT 1 / 0"))
    with pytest.raises(DBAPIError) as refused:
        run_plainly(connection, "SELECT 1; COMMIT")
    assert sqlstate(refused.value) == "25P02"
    connection.rollback()
    assert orders(admin) == 1
