"""The event loop on which the coroutines of a process run."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from dramatiq.asyncio import EventLoopThread

from penstock.workers.forks import end_fork

if TYPE_CHECKING:
    from collections.abc import Awaitable

T = TypeVar("T")


class EventLoop(EventLoopThread):
    """Dramatiq's event loop thread, but one that no coroutine can end.

    asyncio lets `SystemExit` and `KeyboardInterrupt` of a task through, out of `run_forever`: one handler that
    calls `sys.exit()` would leave all others waiting for a loop that is gone.
    """

    def __init__(self, log: Any) -> None:
        super().__init__(log)
        self.daemon = True
        self._log = log
        self.loop.set_exception_handler(self._note_error)

    def run(self) -> None:
        while not self.loop.is_closed():
            try:
                self.loop.run_forever()
                break
            except BaseException as error:
                self._log.warning("a coroutine tried to end the process", error_class=type(error).__name__)
        self.loop.close()

    def run_coroutine(self, coro: Awaitable[T]) -> T:
        """Run it on the loop and wait for it on the calling thread."""
        return asyncio.run_coroutine_threadsafe(_awaiting(coro), self.loop).result()

    def end_fork(self) -> None:
        """In a fork that a coroutine has made: it ends when that one awaits or ends. The others are not its own."""
        if threading.current_thread() is self:
            vars(self.loop)["_ready"].clear()  # asyncio has no word for it
            self.loop.call_soon(end_fork, "to the event loop")

    def _note_error(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """asyncio would log the exception itself, and in its text there may be anything that was in the payload."""
        error = context.get("exception")
        name = type(error).__name__ if error is not None else None
        self._log.warning("a task that nobody waited for failed", error_class=name)


async def _awaiting(coro: Awaitable[T]) -> T:
    return await coro
