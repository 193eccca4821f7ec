"""A connection that waits for an answer only so long.

The server ends a statement that takes too long. It does not if the process behind the connection stands still, in a
virtual machine that was paused or on a disk that hangs: the kernel goes on answering for it, so that neither
keepalives nor timeouts of TCP notice.
"""

from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

# The server has answered by then, or never will: it ends each statement earlier.
ANSWER_SECONDS_MAX = 60.0


class BoundedConnection(psycopg.Connection[Any]):
    """psycopg's, with so long for each answer; then it is closed, and raises `OperationalError`."""

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """`timeout` is what notifications are waited for."""
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, ANSWER_SECONDS_MAX)
        except psycopg.OperationalError:
            if self.info.transaction_status == TransactionStatus.ACTIVE:
                self.close()  # an answer that came now would be taken for that to the next question
            raise
