"""The INSERT into the outbox, in the words of the library that the caller's connection is from."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from penstock.producers.outbox.rows import COLUMNS, write_row
from penstock.schemas import Message

Library = Literal["sqlalchemy", "psycopg", "sqlite3"]
Dialect = Literal["postgresql", "sqlite"]

CHANNEL = "penstock_outbox"
# A relay holds this lock while it has nothing to do. A transaction that finds it held has to wake the relay up;
# the others are spared the NOTIFY, behind which Postgres lets transactions commit only one after the other.
WATCH_LOCK = "7460113, 2"

IDLE = 0  # psycopg's TransactionStatus.IDLE


@dataclass(frozen=True, slots=True)
class Insertion:
    """Where and how to insert."""

    connection: Any
    library: Library
    dialect: Dialect

    @classmethod
    def on(cls, connection: Any) -> Self:
        """On any connection that we know; raises `TypeError`."""
        library = _library(connection)
        if hasattr(connection, "__aenter__"):
            raise TypeError("this connection is for asyncio: await enqueue_async(connection, job)")
        if library == "sqlalchemy" and hasattr(connection, "get_bind"):  # a Session
            connection = connection.connection()
        return cls._checked(connection, library)

    @classmethod
    async def on_async(cls, connection: Any) -> Self:
        """On any connection for asyncio that we know; raises `TypeError`."""
        library = _library(connection)
        if library == "sqlalchemy" and hasattr(connection, "get_bind"):  # an AsyncSession
            connection = await connection.connection()
        return cls._checked(connection, library)

    @classmethod
    def _checked(cls, connection: Any, library: Library) -> Self:
        _refuse_autocommit(connection, library)
        dialect: Any = {"psycopg": "postgresql", "sqlite3": "sqlite"}.get(library)
        if library == "sqlalchemy":
            dialect = connection.dialect.name
            if dialect not in ("postgresql", "sqlite"):
                raise TypeError(f"the outbox works on Postgres and SQLite; this connection is to {dialect}")
        return cls(connection, library, dialect)

    def run(self, messages: Sequence[Message]) -> None:
        """Insert them all."""
        statement, rows = self._statement(), self._rows(messages)
        if self.library == "sqlalchemy":
            self.connection.execute(statement, rows)
        elif self.library == "psycopg":
            with self._cursor() as cursor:
                cursor.executemany(statement, rows)
        else:
            self.connection.executemany(statement, rows)

    async def run_async(self, messages: Sequence[Message]) -> None:
        """Insert them all."""
        statement, rows = self._statement(), self._rows(messages)
        if self.library == "sqlalchemy":
            await self.connection.execute(statement, rows)
        else:
            async with self._cursor() as cursor:
                await cursor.executemany(statement, rows)

    def _statement(self) -> Any:
        if self.library == "sqlalchemy":
            return _sqlalchemy_text(self.dialect)
        return _text(self.dialect, "%({})s" if self.library == "psycopg" else ":{}")

    def _rows(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        return [write_row(message, time_as_text=self.dialect == "sqlite") for message in messages]

    def _cursor(self) -> Any:
        """A cursor of our own: the caller's may have results that he still wants."""
        return getattr(self.connection, "connection", self.connection).cursor()


def _library(connection: Any) -> Library:
    known = () if hasattr(connection, "raw_connection") else type(connection).__mro__  # an engine has no transaction
    for above in known:
        match above.__module__.partition(".")[0]:
            case "sqlalchemy" | "psycopg" | "sqlite3" as library:
                return library
    kind = f"{type(connection).__module__}.{type(connection).__qualname__}"
    raise TypeError(f"enqueue needs a connection of SQLAlchemy, psycopg (3) or sqlite3, not {kind}")


def _refuse_autocommit(connection: Any, library: Library) -> None:
    """A job that commits by itself would run though the caller's transaction rolls back."""
    raw = _begun(connection) if library == "sqlalchemy" else connection
    if not hasattr(raw, "pgconn") and hasattr(raw, "connection"):  # a cursor
        raw = raw.connection
    if hasattr(raw, "pgconn"):
        alone = raw.autocommit and raw.info.transaction_status == IDLE
    else:
        alone = getattr(raw, "isolation_level", "") is None and not raw.in_transaction
    if alone:
        raise TypeError(
            "this connection commits each statement by itself, so the job would be enqueued whatever becomes of your "
            "transaction: begin one first, or turn autocommit off"
        )


def _begun(connection: Any) -> Any:
    """The driver's connection below SQLAlchemy's, which begins at the first statement: that will be ours."""
    if hasattr(connection, "sync_connection"):
        return connection.sync_connection.connection.driver_connection
    if not connection.in_transaction():
        connection.begin()
    return connection.connection.driver_connection


@functools.cache
def _text(dialect: Dialect, mark: str) -> str:
    marks = {name: mark.format(name) for name in COLUMNS}
    if dialect == "postgresql":
        marks["id"] = f"CAST({marks['id']} AS uuid)"
    insert = f"INSERT INTO penstock_outbox ({', '.join(COLUMNS)}) VALUES ({', '.join(marks.values())})"
    if dialect == "sqlite":
        return insert
    return (
        f"WITH added AS ({insert}) "
        f"SELECT pg_notify('{CHANNEL}', '') WHERE NOT pg_try_advisory_xact_lock_shared({WATCH_LOCK})"
    )


@functools.cache
def _sqlalchemy_text(dialect: Dialect) -> Any:
    from sqlalchemy import text  # noqa: PLC0415 - a service that does not use it need not have it

    return text(_text(dialect, ":{}"))
