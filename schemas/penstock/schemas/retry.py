"""Retry policies: pure decisions about what follows a failed attempt."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Retry:
    """Run again, not before `delay_seconds` from now."""

    delay_seconds: float


@dataclass(frozen=True, slots=True)
class Bury:
    """Give up: the job becomes a dead letter with this reason."""

    reason: str


class RetryPolicy(Protocol):
    """Anything with a `decide` can be a retry policy."""

    def decide(self, attempt: int, error: BaseException) -> Retry | Bury:
        """What follows the failure of attempt number `attempt` (the first one is 1)."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with full jitter: uniform between zero and `base · factor^(attempt-1)`, capped.

    Full jitter spreads a thundering herd best; source: Marc Brooker, "Exponential Backoff And Jitter",
    AWS Architecture Blog, 2015.
    """

    base_seconds: float = 2.0
    factor: float = 2.0
    cap_seconds: float = 3600.0
    draw: Callable[[], float] = field(default=random.random, repr=False)

    def decide(self, attempt: int, error: BaseException) -> Retry | Bury:
        exponent = min(attempt - 1, 64)
        ceiling = min(self.cap_seconds, self.base_seconds * self.factor**exponent)
        return Retry(delay_seconds=ceiling * self.draw())
