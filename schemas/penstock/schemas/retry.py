"""Retry policies: pure decisions about what follows a failed attempt."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeGuard

from penstock.schemas.errors import ContractError


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
    AWS Architecture Blog, 2015. Raises `ContractError`.
    """

    base_seconds: float = 2.0
    factor: float = 2.0
    cap_seconds: float = 3600.0
    draw: Callable[[], float] = field(default=random.random, repr=False)

    def __post_init__(self) -> None:
        for option, least in (("base_seconds", 0), ("factor", 1), ("cap_seconds", 0)):
            value = getattr(self, option)
            if not is_number(value) or not least <= value < math.inf:
                raise ContractError(f"Backoff: option '{option}' must be a number of {least} or more; it is {value!r}")

    def decide(self, attempt: int, error: BaseException) -> Retry | Bury:
        try:
            ceiling = min(self.cap_seconds, self.base_seconds * self.factor ** min(attempt - 1, 64))
        except OverflowError:  # far above every cap
            ceiling = self.cap_seconds if self.base_seconds else 0.0
        return Retry(delay_seconds=ceiling * self.draw())


def is_number(value: object) -> TypeGuard[float]:
    """An int or a float; True is no number here."""
    return isinstance(value, int | float) and not isinstance(value, bool)
