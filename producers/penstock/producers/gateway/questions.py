"""Reading from the ledger: a few threads with a session each, behind the event loop."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy.exc import DBAPIError

from penstock.ledger.database import Ledger, LedgerUnavailable, Session, is_disconnect

T = TypeVar("T")

THREADS = 4
WAITING_MAX = 256
PATIENCE_SECONDS = 5.0
# A list over a filter that nothing fits would read the whole table.
STATEMENT_TIMEOUT = "4s"


class TooBusy(Exception):
    """More questions wait than this process wants to hold."""


class Questions:
    """`ask` runs a function with a session, elsewhere than on the event loop."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="ask")
        self._own = threading.local()
        self._opened: list[Session] = []
        self._waiting = 0

    async def ask(self, question: Callable[[Session], T], *, patience_seconds: float = PATIENCE_SECONDS) -> T:
        """The answer. Raises `LedgerUnavailable`, `TooBusy`, and what the question raises."""
        if self._waiting >= WAITING_MAX:
            raise TooBusy
        self._waiting += 1
        try:
            answer = asyncio.get_running_loop().run_in_executor(self._threads, self._answer, question)
            async with asyncio.timeout(patience_seconds):
                return await answer
        except TimeoutError:
            raise LedgerUnavailable("the ledger did not answer in time") from None
        finally:
            self._waiting -= 1

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for session in self._opened:
            session.close()

    def _answer(self, question: Callable[[Session], T]) -> T:
        """On a session that has died since it was last used, ask once more on a new one."""
        had_session = getattr(self._own, "session", None) is not None
        try:
            return question(self._session())
        except DBAPIError as error:
            self._drop()
            if had_session and is_disconnect(error):
                return question(self._session())
            raise

    def _session(self) -> Session:
        session: Session | None = getattr(self._own, "session", None)
        if session is None:
            session = self._own.session = self._ledger.session()
            self._opened.append(session)
            if session.dialect.name == "postgresql":
                session.connection.exec_driver_sql(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")
        return session

    def _drop(self) -> None:
        session: Session | None = getattr(self._own, "session", None)
        self._own.session = None
        if session is not None:
            self._opened.remove(session)
            try:
                session.close()
            except DBAPIError:
                return
