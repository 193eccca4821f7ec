"""Database sessions for handlers: pooled, with the timeouts of their contracts."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy.exc import DBAPIError
from tenacity import Retrying, retry_if_exception, wait_random_exponential

from penstock.ledger.database import LedgerUnavailable, Session, is_passing
from penstock.workers.coroutine_transactions import CoroutineTransactions
from penstock.workers.errors import LedgerLost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection

    from penstock.ledger.database import Ledger

T = TypeVar("T")


class HandlerSessions:
    """The pool of one worker process; connects at the first transaction of a handler."""

    def __init__(self, ledger: Ledger, *, threads: int) -> None:
        self.ledger = ledger
        self._engine = ledger.engine(purpose="handlers", pool_size=threads)
        self._idle: deque[Connection] = deque()
        self._local = threading.local()
        self._coroutines = CoroutineTransactions()

    @contextmanager
    def connection(self, *, timeout_seconds: float) -> Iterator[Connection]:
        """A connection for one transaction; the caller commits. Raises `LedgerLost` when there is none."""
        self._coroutines.give_way()
        connection = self._connect(timeout_seconds)
        try:
            with self._coroutines.watching(connection):
                yield connection
        finally:
            self._put_back(connection)

    def require_unawaited(self, connection: Connection) -> None:
        """Before the commit of a handler's transaction; raises `RuntimeError`."""
        self._coroutines.require_unawaited(connection)

    def insist(self, action: Callable[[Session], T]) -> T:
        """Run `action` on this thread's engine session until the ledger has answered it.

        For what must be known or noted before the handler can go on: after an outage it waits, as `settle` does.
        """
        for attempt in Retrying(
            retry=retry_if_exception(is_passing), wait=wait_random_exponential(multiplier=0.05, max=2.0)
        ):
            with attempt:
                try:
                    return action(self._session())
                except BaseException:
                    self._drop_session()
                    raise
        raise AssertionError("unreachable: tenacity retries until it returns or raises")

    def once(self, action: Callable[[Session], T]) -> T:
        """Run `action` on this thread's engine session; raises `LedgerLost` when the ledger does not take it now."""
        try:
            return action(self._session())
        except (DBAPIError, LedgerUnavailable) as error:
            self._drop_session()
            if is_passing(error):
                raise LedgerLost from error
            raise

    def close(self) -> None:
        self._close_idle()
        self._engine.dispose()

    def _connect(self, timeout_seconds: float) -> Connection:
        """One from the pool may have died there: that shows at its first statement, which is ours."""
        connection = None
        try:
            connection = self._take_idle() or self._engine.connect()
            self._apply_timeout(connection, timeout_seconds)
        except DBAPIError as error:
            if connection is not None:
                close_quietly(connection)
                self._close_idle()
            raise LedgerLost from error
        return connection

    def _take_idle(self) -> Connection | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _put_back(self, connection: Connection) -> None:
        """Keep it open at hand: to check one in and out of the pool costs as much as a statement."""
        try:
            connection.rollback()
        except DBAPIError:
            connection.invalidate()
        if connection.invalidated:
            close_quietly(connection)
            self._close_idle()  # whatever ended this one has most likely ended them all
        else:
            self._idle.append(connection)

    def _close_idle(self) -> None:
        while connection := self._take_idle():
            close_quietly(connection)

    def _session(self) -> Session:
        self._coroutines.give_way()
        session: Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = self.ledger.session()
        return session

    def _drop_session(self) -> None:
        session: Session | None = getattr(self._local, "session", None)
        self._local.session = None
        if session is not None:
            close_quietly(session)

    def _apply_timeout(self, connection: Connection, seconds: float) -> None:
        if self.ledger.dialect.name != "postgresql" or connection.info.get("penstock_timeout") == seconds:
            return
        milliseconds = max(1, round(seconds * 1000))
        for setting in ("statement_timeout", "idle_in_transaction_session_timeout"):
            connection.exec_driver_sql(f"SET {setting} = {milliseconds}")
        connection.commit()
        connection.info["penstock_timeout"] = seconds


def close_quietly(session: Any) -> None:
    """Close a session that may be broken already."""
    try:
        session.close()
    except Exception:  # noqa: S110 - it is broken, which is why it is closed
        pass
