"""The contract of a job type: everything about it that is not its payload."""

import functools
import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from penstock.schemas.errors import ContractError
from penstock.schemas.retry import Backoff, RetryPolicy

Guarantee = Literal["at_least_once", "at_most_once"]
Exceptions = tuple[type[Exception], ...]

# Both become parts of AMQP routing keys and queue names, Prometheus labels and command lines.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")
NAME_LENGTH_MAX = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """Type, version and options of a job.

    `timeout_seconds` bounds one attempt, `unique_for` is how long a dedup key lives at least,
    `permanent` lists the exceptions that no retry can cure. Raises `ContractError`.
    """

    type: str
    version: int = 1
    queue: str = "default"
    max_attempts: int = 10
    retry: RetryPolicy = field(default_factory=Backoff)
    timeout_seconds: float = 600.0
    guarantee: Guarantee = "at_least_once"
    unique_for: timedelta = timedelta(days=7)
    permanent: Exceptions = ()

    def __post_init__(self) -> None:
        check_name("type", self.type)
        check_name("queue", self.queue)
        self._require(self.version >= 1, "version", "must be 1 or more")
        self._require(1 <= self.max_attempts <= 1000, "max_attempts", "must be between 1 and 1000")
        self._require(0 < self.timeout_seconds <= 7 * 86400, "timeout_seconds", "must be above 0, at most a week")
        self._require(
            self.guarantee in ("at_least_once", "at_most_once"),
            "guarantee",
            "must be 'at_least_once' or 'at_most_once'",
        )
        self._require(self.unique_for >= timedelta(0), "unique_for", "must not be negative")

    def _require(self, holds: bool, option: str, rule: str) -> None:
        if not holds:
            raise ContractError(f"{self.type}: option '{option}' {rule}; it is {getattr(self, option)!r}")


@functools.lru_cache(maxsize=4096)  # a handful of names pass here for every delivery
def check_name(what: str, name: str) -> None:
    """Raises `ContractError` unless `name` can serve as the name of a job type or queue."""
    if not isinstance(name, str) or len(name) > NAME_LENGTH_MAX or not _NAME.fullmatch(name):
        raise ContractError(
            f"{what} {name!r} is not a name: use letters, digits, '_', '-' and single dots, "
            f"starting with a letter, at most {NAME_LENGTH_MAX} characters, like 'orders.ship'"
        )
