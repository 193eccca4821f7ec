"""What a loop does beside its work, and what may come to take long: to count all that waits, to begin at the front."""

import math
import time


class Chore:
    """`with` it, when it is due; it takes at most `share` of the time, however it ends, but rests no longer than said.

    One that fails is done too for now: what it was beside goes on.
    """

    def __init__(self, *, share: float, rest_seconds_max: float = math.inf) -> None:
        self._share = share
        self._rest_seconds_max = rest_seconds_max
        self._rest_seconds = 0.0
        self._began_at = self._ended_at = -math.inf

    def is_due(self, *, every_seconds: float = 0.0) -> bool:
        """Whether it has rested for as long as it must, and for so many seconds."""
        return time.monotonic() - self._ended_at >= max(every_seconds, self._rest_seconds)

    def __enter__(self) -> None:
        self._began_at = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._ended_at = time.monotonic()
        self._rest_seconds = min((self._ended_at - self._began_at) / self._share, self._rest_seconds_max)
