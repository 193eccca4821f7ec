"""The contract of a job type: everything about it that is not its payload."""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from penstock.schemas.errors import ContractError
from penstock.schemas.retry import Backoff, RetryPolicy, is_number

Guarantee = Literal["at_least_once", "at_most_once"]
Exceptions = tuple[type[Exception], ...]

# Both become parts of AMQP routing keys and queue names, Prometheus labels and command lines.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")
NAME_LENGTH_MAX = 120
VERSION_MAX = 2**31 - 1
UNIQUE_FOR_MAX = timedelta(days=36_500)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """Type, version and options of a job.

    `timeout_seconds` bounds one attempt, `unique_for` is how long a dedup key lives at least,
    `permanent` lists the exceptions that no retry can cure. `aliases` are names that the type had before, the
    oldest first. Raises `ContractError`.
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
    aliases: tuple[str, ...] = ()
    # The name under which dedup keys count, where that is not the type: the first one that it had. The release that
    # knows only the old name looks there too, so that a key means one job over a rolling deploy.
    key_type: str | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        check_name("type", self.type)
        check_name("queue", self.queue)
        for option, (holds, rule) in _RULES.items():
            value = getattr(self, option)
            if not holds(value):
                raise ContractError(f"{self.type}: option '{option}' {rule}; it is {value!r}")
        for name in self.aliases:
            check_name("alias", name)
        if len(set(self.names)) < len(self.names):
            raise ContractError(f"{self.type}: option 'aliases' must not name the type itself, nor a name twice")
        object.__setattr__(self, "key_type", next(iter(self.aliases), None))

    @property
    def names(self) -> tuple[str, ...]:
        """Its type and the names that it had before."""
        return (self.type, *self.aliases)


def _is_between(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: value.__class__ is int and least <= value <= most


def _are_exceptions(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(it, type) and issubclass(it, BaseException) for it in value)


_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "version": (_is_between(1, VERSION_MAX), f"must be 1 or more, and an integer of at most {VERSION_MAX}"),
    "max_attempts": (_is_between(1, 1000), "must be between 1 and 1000, and an integer"),
    "retry": (
        lambda value: callable(getattr(value, "decide", None)) and not isinstance(value, type),
        "must be an object with a method 'decide', like Backoff()",
    ),
    "timeout_seconds": (
        lambda value: is_number(value) and 0 < value <= 7 * 86400,
        "must be a number above 0, at most a week",
    ),
    "guarantee": (
        lambda value: value in ("at_least_once", "at_most_once"),
        "must be 'at_least_once' or 'at_most_once'",
    ),
    "unique_for": (
        lambda value: isinstance(value, timedelta) and timedelta(0) <= value <= UNIQUE_FOR_MAX,
        "must be a timedelta of at most 100 years, and must not be negative",
    ),
    "aliases": (lambda value: isinstance(value, tuple), "must be a tuple of names, like ('orders.old',)"),
    "permanent": (_are_exceptions, "must be a tuple of exception classes, like (KeyError,)"),
}


@functools.lru_cache(maxsize=4096)  # a handful of names pass here for every delivery
def check_name(what: str, name: str) -> None:
    """Raises `ContractError` unless `name` can serve as the name of a job type or queue."""
    if not isinstance(name, str) or len(name) > NAME_LENGTH_MAX or not _NAME.fullmatch(name):
        raise ContractError(
            f"{what} {name!r} is not a name: use letters, digits, '_', '-' and single dots, "
            f"starting with a letter, at most {NAME_LENGTH_MAX} characters, like 'orders.ship'"
        )
