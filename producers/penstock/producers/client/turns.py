"""Whose turn it is to use the connection: the I/O thread's, or that of a thread that publishes while it waits."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from pika.adapters.select_connection import IOLoop


class Turns:
    """Stands between pika's loop and its poller. The I/O thread has the turn but for when it waits for the network;
    others take it by `with turns.lock`.

    Both are called by the I/O thread when it has its turn again, before pika hears of anything: `mend` says whether
    something was broken, `read(file, events)` whether it has dealt with what has come.
    """

    def __init__(self, ioloop: IOLoop, *, mend: Callable[[], bool], read: Callable[[int, int], bool]) -> None:
        self.lock = threading.Lock()
        self._ioloop = ioloop
        self._mend = mend
        self._read = read
        self._poller: Any = None

    def begin(self) -> None:
        """The loop of the calling thread can wait from now on."""
        self.lock.acquire()
        poller: Any = vars(self._ioloop)["_poller"]  # pika has no word for it
        self._poller, poller._poll = poller._poll, self  # noqa: SLF001

    def end(self) -> None:
        """The loop has ended: nobody is to wait for a turn."""
        self.lock.release()

    @property
    def are_taken(self) -> bool:
        """Whether who wants one now has to wait."""
        return self.lock.locked()

    def poll(self, timeout: float | None) -> Sequence[tuple[int, int]]:
        """What pika calls to wait, for (file, events)."""
        self.lock.release()
        try:
            events: Sequence[tuple[int, int]] = self._poller.poll(timeout)
        finally:
            self.lock.acquire()
        if self._mend():
            return ()  # what has come is told again
        if len(events) == 1 and self._read(*events[0]):
            return ()
        return events

    def __getattr__(self, name: str) -> Any:
        """What else pika wants of its poller: `register`, `modify`, `unregister`, `close`."""
        return getattr(self._poller, name)
