"""How long to wait before trying again."""

from tenacity import RetryCallState, Retrying
from tenacity.wait import wait_random_exponential

ATTEMPT_MAX = 32  # beyond it only the cap counts


class Backoff:
    """Exponential, with full jitter, so that a restarted broker is not met by all clients at once.

    It is tenacity's strategy without its loop: the I/O thread must not sleep.
    """

    def __init__(self, *, first_seconds: float, most_seconds: float) -> None:
        self._wait = wait_random_exponential(multiplier=first_seconds, max=most_seconds, min=0.01)
        self._state = RetryCallState(Retrying(), None, (), {})

    def seconds(self, attempt: int) -> float:
        """The pause after this attempt; the first one is 1."""
        self._state.attempt_number = min(attempt, ATTEMPT_MAX)
        return self._wait(self._state)
