"""Whose turn it is to use the connection: the I/O thread's, or that of a thread that publishes while it waits."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from pika.adapters.select_connection import IOLoop

# As long as nothing else comes, the way through pika's loop is spared; its timers wait for that.
READING_SECONDS_MAX = 0.02


class Turns:
    """Stands between pika's loop and its poller. The I/O thread has the turn but for when it waits for the network;
    then others may take it one after another: `with turns.lock`, if `are_open` says so inside of that.

    The I/O thread has no lock in its turn, so nobody ever waits for what it does there. `mend` and `read` are called by
    it when it has its turn again, before pika hears of anything: `mend()` says whether something was broken,
    `read(file, events)` whether it has dealt with what has come.
    """

    def __init__(self, ioloop: IOLoop, *, mend: Callable[[], bool], read: Callable[[int, int], bool]) -> None:
        self.lock = threading.Lock()
        self.are_open = False
        self._ioloop = ioloop
        self._mend = mend
        self._read = read
        self._poller: Any = None

    def begin(self) -> None:
        """The loop of the calling thread can wait from now on."""
        poller: Any = vars(self._ioloop)["_poller"]  # pika has no word for it
        if hasattr(poller, "_poll"):  # as on Linux; elsewhere the turn is never given away
            self._poller, poller._poll = poller._poll, self  # noqa: SLF001

    def poll(self, timeout: float | None) -> Sequence[tuple[int, int]]:
        """What pika calls to wait, for (file, events)."""
        started = time.monotonic()
        while True:
            events = self._wait(timeout)
            if self._mend():
                return ()  # what has come is told again
            if len(events) != 1 or not self._read(*events[0]):
                return events
            if time.monotonic() - started > READING_SECONDS_MAX:
                return ()

    def _wait(self, timeout: float | None) -> Sequence[tuple[int, int]]:
        self.are_open = True
        try:
            events: Sequence[tuple[int, int]] = self._poller.poll(timeout)
        finally:
            self.are_open = False
            with self.lock:
                pass  # who has begun has ended now, and nobody else begins
        return events

    def __getattr__(self, name: str) -> Any:
        """What else pika wants of its poller: `register`, `modify`, `unregister`, `close`."""
        return getattr(self._poller, name)
