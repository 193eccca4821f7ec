"""The outbox on SQLite. The write lock must not be held while RabbitMQ is waited for, so no row is locked:
one relay works at a time, and the others stand by."""

import contextlib
import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from penstock.producers.outbox.ddl import DDL
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

BUSY_SECONDS = 30
POLL_SECONDS = 0.1
_NOW = "strftime('%Y-%m-%d %H:%M:%f', 'now')"
_READ = ", ".join(COLUMNS)

_IS_THERE = "SELECT 1 FROM sqlite_master WHERE name = 'penstock_outbox'"

_TAKE = f"""
    SELECT {_READ} FROM penstock_outbox
    WHERE retry_at IS NULL AND id >= ? AND type NOT IN (SELECT value FROM json_each(?)) ORDER BY id LIMIT ?
"""

_TAKE_HELD = f"SELECT {_READ} FROM penstock_outbox WHERE retry_at <= {_NOW} ORDER BY retry_at LIMIT ?"

_DELETE = "DELETE FROM penstock_outbox WHERE id = ?"

_HOLD = f"""
    UPDATE penstock_outbox SET reason = ?, tries = tries + 1, retry_at = strftime('%Y-%m-%d %H:%M:%f', 'now',
        min({HOLD_SECONDS_MAX}, {HOLD_SECONDS} * (1 << min({HOLD_DOUBLINGS_MAX}, tries))) || ' seconds')
    WHERE id = ?
"""

_LAG = """
    SELECT count(*) - count(retry_at), count(retry_at),
        coalesce((julianday('now') - julianday(min(CASE WHEN retry_at IS NULL THEN created_at END))) * 86400.0, 0)
    FROM penstock_outbox
"""

_HELD = """
    SELECT id, type, reason, tries, created_at, retry_at FROM penstock_outbox
    WHERE retry_at IS NOT NULL ORDER BY retry_at LIMIT ?
"""

_RETRY = f"UPDATE penstock_outbox SET retry_at = {_NOW} WHERE retry_at IS NOT NULL AND type = coalesce(?, type)"


def create_outbox(file: str) -> bool:
    """See `store.create_outbox`; makes the file too, but not its folder."""
    if not Path(file).absolute().parent.is_dir():
        raise OutboxUnavailable(f"there is no folder {Path(file).parent}: make it first")
    with contextlib.closing(sqlite3.connect(file, timeout=BUSY_SECONDS)) as connection:
        if connection.execute(_IS_THERE).fetchall():
            return False
        connection.executescript(DDL["sqlite"])
    return True


class SQLiteStore:
    """See `Store`."""

    def __init__(self, file: str) -> None:
        """Raises `OutboxMissing`, and `OutboxUnavailable` for a file that is not there: connecting would make one."""
        if not Path(file).is_file():
            raise OutboxUnavailable(f"there is no database file {file}: make it, with the outbox, before the relay")
        self._connection = sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        # One row that is not UTF-8 must not fail its whole batch.
        self._connection.text_factory = lambda text: text.decode(errors="replace")
        if not self._connection.execute(_IS_THERE).fetchall():
            self._connection.close()
            raise OutboxMissing
        self._lock = os.open(f"{file}-relay.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self, *, after: str | None, limit: int, without: Sequence[str]) -> list[Row]:
        return self._take(_TAKE, (after or "", json.dumps(list(without)), limit))

    def take_held(self, *, limit: int) -> list[Row]:
        return self._take(_TAKE_HELD, (limit,))

    def settle(self, *, published: Sequence[str], refused: Sequence[Refused]) -> None:
        with self._transaction():
            self._connection.executemany(_DELETE, [(row,) for row in published])
            self._connection.executemany(_HOLD, [(row.reason, row.id) for row in refused])

    def lag(self) -> Lag:
        [(waiting, held, oldest)] = self._connection.execute(_LAG)
        return Lag(waiting, held, max(0.0, oldest))

    def wait(self, seconds: float, *, after: str | None) -> None:
        time.sleep(min(seconds, POLL_SECONDS))

    def read(self) -> Iterator[Row]:
        for row in self._connection.execute(f"SELECT {_READ} FROM penstock_outbox ORDER BY id"):
            yield Row(*row)

    def held(self, *, limit: int) -> list[Held]:
        return [Held(*row) for row in self._connection.execute(_HELD, (limit,))]

    def retry_held(self, *, type: str | None) -> int:  # noqa: A002 - the field's word
        return self._connection.execute(_RETRY, (type,)).rowcount

    def close(self) -> None:
        self._connection.close()
        os.close(self._lock)

    def _take(self, statement: str, parameters: tuple[Any, ...]) -> list[Row]:
        if not self._works():
            return []
        return [Row(*row) for row in self._connection.execute(statement, parameters)]

    def _works(self) -> bool:
        """Whether we are the relay that works; the lock goes with its process, however that ends."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
