"""What a worker process holds: claims that wait for a thread, run, or wait to be settled."""

from __future__ import annotations

import time
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.ledger.admission import Claim
    from penstock.workers.entry import Entry

WINDOW_SECONDS = 0.1


class Holding:
    """Shared by the threads of one process. Each field has one writer, or operations that are atomic in CPython."""

    def __init__(self, *, threads: int) -> None:
        self.threads = threads
        # None tells a thread to end.
        self.ready: SimpleQueue[tuple[Claim, Entry, float] | None] = SimpleQueue()
        self.claims: dict[str, Claim] = {}  # by job id, from the claim until the settle
        self.tokens_in_flight: set[int] = set()  # of claims whose reply we do not have
        self.cancel_requested: set[str] = set()
        self.started = [0] * threads  # by thread
        self.finished = [0] * threads
        self.taken_at = 0.0  # when the claim was handed over that a thread took last: what is ready is no older
        self.closed = False  # nothing more is started
        self.fresh_until = 0.0  # by when the next heartbeat must have been confirmed, or nothing more is started
        self.claimed = 0
        self.handed_back = 0
        self._samples: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])

    @property
    def outstanding(self) -> int:
        """Claims that wait for a thread or run."""
        return self.claimed - self.handed_back - sum(self.finished)

    def may_start(self) -> bool:
        """Whether a job may start here: a process whose heartbeat is late may be taken for dead any moment."""
        return not self.closed and time.monotonic() < self.fresh_until

    @property
    def running(self) -> int:
        return sum(self.started) - sum(self.finished)

    @property
    def idle_threads(self) -> int:
        return max(0, self.threads - self.outstanding)

    def started_lately(self) -> int:
        """How many jobs were started within the last 100 ms: the look-ahead that is sure to be used soon."""
        now, total = time.monotonic(), sum(self.started)
        samples = self._samples
        while len(samples) > 1 and now - samples[1][0] >= WINDOW_SECONDS:
            samples.popleft()
        samples.append((now, total))
        return total - samples[0][1]
