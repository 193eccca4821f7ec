"""Transactions of coroutines. All coroutines of a process share one thread: one that awaits while its transaction is
open holds locks, and the next one that wants them would make the whole thread wait, the first one included.

So a transaction in a coroutine must be written in one go. One that was not is refused at its end, and rolled back
before that, where somebody else comes along.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from collections.abc import Iterator

AWAITED = (
    "an `await` inside ctx.transaction() or ctx.checkpoint() would hold up the event loop: await first, then write"
)


class _Open:
    """The open transaction of a coroutine. `turned`: the loop has run something else since it began."""

    def __init__(self, task: asyncio.Task[Any] | None, connection: Connection) -> None:
        self.task = task
        self.connection = connection
        self.turned = False

    def note_turn(self) -> None:
        self.turned = True


class CoroutineTransactions:
    """Touched by the thread of the event loop only; worker threads pass through without a trace."""

    def __init__(self) -> None:
        self._open: _Open | None = None

    def give_way(self) -> None:
        """Before anything that may wait for a lock on this thread: a coroutine that awaits must hold none."""
        if self._open is not None and _running_loop() is not None and self._open.task is not asyncio.current_task():
            with suppress(DBAPIError):
                Connection.rollback(self._open.connection)  # its own is lent
            # Else its next statement would begin anew, and wait on this thread for whoever came along.
            vars(self._open.connection)["_autobegin"] = _refuse_to_begin
            self._open = None

    @contextmanager
    def watching(self, connection: Connection) -> Iterator[None]:
        """Around the transaction of whoever calls."""
        loop = _running_loop()
        if loop is None:
            yield
            return
        opened = self._open = _Open(asyncio.current_task(), connection)
        turn = loop.call_soon(opened.note_turn)
        try:
            yield
        finally:
            turn.cancel()
            if self._open is opened:
                self._open = None

    def require_unawaited(self, connection: Connection) -> None:
        """Before the commit: raises `RuntimeError` if the coroutine has awaited in between."""
        opened = self._open
        if _running_loop() is not None and (opened is None or opened.connection is not connection or opened.turned):
            raise RuntimeError(AWAITED)


def _refuse_to_begin() -> NoReturn:
    """Until the connection, which is lent, is given back."""
    raise RuntimeError(AWAITED)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
