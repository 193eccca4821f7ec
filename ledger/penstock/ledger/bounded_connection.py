"""A connection that waits for an answer only so long.

The server ends a statement that takes too long. It does not if the process behind the connection stands still, in a
virtual machine that was paused or on a disk that hangs: the kernel goes on answering for it, so that neither
keepalives nor timeouts of TCP notice.
"""

import time
from collections.abc import Generator
from typing import Any

import psycopg

# The server has answered by then, or never will: it ends each statement earlier.
ANSWER_SECONDS_MAX = 60.0


class BoundedConnection(psycopg.Connection[Any]):
    """psycopg's, with so long for each answer; then it is closed, and raises `OperationalError`."""

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """`timeout` is what notifications are waited for."""
        return super().wait(self._bounded(gen) if timeout is None else gen, interval, timeout)

    def _bounded(self, talk: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """The same talk with the server, as long as something comes of it: there may be many answers in one."""
        heard_at = time.monotonic()
        try:
            waits_for = next(talk)
            while True:
                ready = yield waits_for
                if ready:
                    heard_at = time.monotonic()
                elif time.monotonic() - heard_at > ANSWER_SECONDS_MAX:
                    self.close()  # an answer that came now would be taken for that to the next question
                    raise psycopg.OperationalError(f"the server has not answered for {ANSWER_SECONDS_MAX:g} s")
                waits_for = talk.send(ready)
        except StopIteration as end:
            return end.value
