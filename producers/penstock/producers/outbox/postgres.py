"""The outbox on Postgres. A relay's rows are locked until they are settled; the others skip them."""

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg

from penstock.ledger.bounded_connection import BoundedConnection
from penstock.producers.outbox.ddl import DDL
from penstock.producers.outbox.insertion import CHANNEL, WATCH_LOCK
from penstock.producers.outbox.rows import COLUMNS, Row
from penstock.producers.outbox.store import (
    HOLD_DOUBLINGS_MAX,
    HOLD_SECONDS,
    HOLD_SECONDS_MAX,
    Held,
    Lag,
    OutboxMissing,
    OutboxUnavailable,
    Refused,
)

CONNECT_SECONDS = 5
BUSY_WAIT_SECONDS = 0.1
_FIRST_ID = "00000000-0000-0000-0000-000000000000"

# The rows are read by walking the primary key, whatever fresh or missing statistics make the planner believe.
# A relay that is frozen must not keep its rows for ever: the last but one line frees them.
_SESSION = """
    SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off; SET jit = off;
    SET timezone = 'UTC'; SET datestyle = 'ISO';
    SET default_transaction_isolation = 'read committed';
    SET lock_timeout = '5s'; SET statement_timeout = '30s';
    SET idle_in_transaction_session_timeout = '30s';
"""

_READ = ", ".join(f"CAST(o.{name} AS text)" if name in ("id", "due_at") else f"o.{name}" for name in COLUMNS)

_TAKE = f"""
    SELECT {_READ} FROM penstock_outbox AS o
    WHERE o.retry_at IS NULL AND o.id >= CAST(%s AS uuid) AND o.type <> ALL(CAST(%s AS text[]))
    ORDER BY o.id LIMIT %s FOR UPDATE SKIP LOCKED
"""

_TAKE_HELD = f"""
    SELECT {_READ} FROM penstock_outbox AS o WHERE o.retry_at <= now()
    ORDER BY o.retry_at LIMIT %s FOR UPDATE SKIP LOCKED
"""

_READ_ALL = f"SELECT {_READ} FROM penstock_outbox AS o ORDER BY o.id"

_DELETE = "DELETE FROM penstock_outbox WHERE id = ANY(CAST(%s AS uuid[]))"

_HOLD = f"""
    UPDATE penstock_outbox AS o SET reason = refused.reason, tries = o.tries + 1, retry_at = now()
        + least({HOLD_SECONDS_MAX}, {HOLD_SECONDS} * 2 ^ least({HOLD_DOUBLINGS_MAX}, o.tries)) * interval '1 second'
    FROM unnest(CAST(%s AS uuid[]), CAST(%s AS text[])) AS refused(id, reason) WHERE o.id = refused.id
"""

_IS_SOMETHING_THERE = """
    SELECT EXISTS (SELECT 1 FROM penstock_outbox WHERE retry_at IS NULL AND id >= CAST(%s AS uuid))
"""

_LAG = """
    SELECT count(*) FILTER (WHERE retry_at IS NULL), count(retry_at),
        coalesce(extract(epoch FROM now() - min(created_at) FILTER (WHERE retry_at IS NULL)), 0)
    FROM penstock_outbox
"""

_HELD = """
    SELECT CAST(id AS text), type, reason, tries, CAST(created_at AS text), CAST(retry_at AS text)
    FROM penstock_outbox WHERE retry_at IS NOT NULL ORDER BY retry_at LIMIT %s
"""

_RETRY = """
    UPDATE penstock_outbox SET retry_at = now()
    WHERE retry_at IS NOT NULL AND (CAST(%(type)s AS text) IS NULL OR type = %(type)s)
"""


def create_outbox(url: str) -> bool:
    """See `store.create_outbox`."""
    with _connect(url) as connection:
        try:
            connection.execute(DDL["postgresql"].encode())
        except (psycopg.errors.DuplicateTable, psycopg.errors.UniqueViolation):  # also by somebody at this moment
            return False
    return True


def _connect(url: str) -> BoundedConnection:
    """Raises `OutboxUnavailable`."""
    try:
        return BoundedConnection.connect(
            url, autocommit=True, application_name="penstock-relay", connect_timeout=CONNECT_SECONDS
        )
    except psycopg.OperationalError as error:
        raise OutboxUnavailable(f"cannot connect to the database of the outbox: {error}") from None
    except psycopg.Error:  # it may have a part of the password in it
        raise OutboxUnavailable("cannot connect to the database of the outbox: its URL cannot be read") from None


class PostgresStore:
    """See `Store`."""

    def __init__(self, url: str) -> None:
        """Raises `OutboxUnavailable` and `OutboxMissing`."""
        self._connection = _connect(url)
        self._connection.execute(_SESSION)
        if self._connection.execute("SELECT to_regclass('penstock_outbox')").fetchall() == [(None,)]:
            self._connection.close()
            raise OutboxMissing
        self._connection.execute(f"LISTEN {CHANNEL}")
        self._cursor = self._connection.cursor(binary=True)

    def take(self, *, after: str | None, limit: int, without: Sequence[str]) -> list[Row]:
        return self._take(_TAKE, [after or _FIRST_ID, list(without), limit])

    def take_held(self, *, limit: int) -> list[Row]:
        return self._take(_TAKE_HELD, [limit])

    def settle(self, *, published: Sequence[str], refused: Sequence[Refused]) -> None:
        with self._connection.pipeline():  # one round trip
            if published:
                self._cursor.execute(_DELETE, [list(published)])
            if refused:
                self._cursor.execute(_HOLD, [[row.id for row in refused], [row.reason for row in refused]])
            self._cursor.execute("COMMIT")

    def lag(self) -> Lag:
        [(waiting, held, oldest)] = self._connection.execute(_LAG).fetchall()
        return Lag(waiting, held, max(0.0, float(oldest)))

    def wait(self, seconds: float, *, after: str | None) -> None:
        """On the watch, whoever enqueues wakes us up; while a transaction is open that will not, we look again soon."""
        [(on_watch,)] = self._connection.execute(f"SELECT pg_try_advisory_lock({WATCH_LOCK})").fetchall()
        if not on_watch:
            self._listen(min(seconds, BUSY_WAIT_SECONDS))
            return
        [(something,)] = self._connection.execute(_IS_SOMETHING_THERE, [after or _FIRST_ID]).fetchall()
        # Rows of another relay, or of a type that is left alone for a while: they are no reason to spin.
        self._listen(BUSY_WAIT_SECONDS if something else seconds)
        self._connection.execute(f"SELECT pg_advisory_unlock({WATCH_LOCK})")

    def read(self) -> Iterator[Row]:
        # A cursor of the server's needs a transaction.
        with self._connection.transaction(), self._connection.cursor("read", binary=True) as cursor:
            for row in cursor.execute(_READ_ALL):
                yield Row(*row)

    def held(self, *, limit: int) -> list[Held]:
        return [Held(*row) for row in self._connection.execute(_HELD, [limit])]

    def retry_held(self, *, type: str | None) -> int:  # noqa: A002 - the field's word
        return self._connection.execute(_RETRY, {"type": type}).rowcount

    def close(self) -> None:
        self._connection.close()

    def _take(self, statement: str, parameters: list[Any]) -> list[Row]:
        with self._connection.pipeline():  # one round trip
            self._cursor.execute("BEGIN")
            self._cursor.execute(statement, parameters)
            rows = [Row(*row) for row in self._cursor.fetchall()]
        if not rows:
            self._cursor.execute("COMMIT")
        return rows

    def _listen(self, seconds: float) -> None:
        for _ in self._connection.notifies(timeout=seconds, stop_after=1):
            pass
