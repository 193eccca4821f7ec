"""`@every` tags a job class, or a function that makes a job, as something that comes by the clock."""

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from penstock.producers.schedules.cron import CronError, checked
from penstock.producers.schedules.template import Template, check_tick_field
from penstock.schemas import ContractError, Job, Keyring, KeyringError
from penstock.schemas.contract import check_name
from penstock.schemas.message import check_body

Missed = Literal["skip", "one", "all"]
T = TypeVar("T", bound=Callable[[], Job])

TAG = "__penstock_schedules__"
MISSED_MAX = 100
MISSED_MAX_MOST = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When a schedule fires: the part of it that can be changed at run time. Raises `CronError`."""

    cron: str
    timezone: str
    missed: str
    missed_max: int

    def __post_init__(self) -> None:
        checked(self.cron, self.timezone)
        if self.missed not in ("skip", "one", "all"):
            raise CronError(f"missed={self.missed!r} is no policy; use 'skip', 'one' or 'all'")
        if not 1 <= self.missed_max <= MISSED_MAX_MOST:
            raise CronError(f"missed_max must be between 1 and {MISSED_MAX_MOST}; it is {self.missed_max!r}")

    def columns(self) -> dict[str, Any]:
        return {
            "cron": self.cron,
            "timezone": self.timezone,
            "missed": self.missed,
            "missed_max": self.missed_max,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """A schedule as the code has it."""

    name: str
    timing: Timing
    job: Job
    tick_field: str | None

    def columns(self, keyring: Keyring | None) -> dict[str, Any]:
        """What is always as the code says. Raises `KeyringError`."""
        try:
            template = Template.of(self.job, name=self.name, tick_field=self.tick_field, keyring=keyring)
        except KeyringError as error:
            raise KeyringError(f"schedule {self.name}: {error}") from None
        return {"declared": json.dumps(self.timing.columns()), **template.columns()}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tag:
    timing: Timing
    name: str | None
    tick_field: str | None


def every(
    cron: str,
    *,
    timezone: str = "UTC",
    missed: Missed = "one",
    missed_max: int = MISSED_MAX,
    tick_field: str | None = None,
    name: str | None = None,
) -> Callable[[T], T]:
    """Run a job by the clock: `@every("0 7 * * *", timezone="Europe/Warsaw")`.

    It stands above a job class whose fields all have defaults, or above a function without arguments that returns
    the job; the function is called once, when a worker starts. `tick_field` names a field that gets the time of the
    tick. `missed` says what happens to ticks that nobody was there for: `skip` them, run `one` job for the last of
    them, or `all`, at most the last `missed_max`. `name` is what operators see. Raises `ContractError`.
    """
    try:
        timing = Timing(cron=cron, timezone=timezone, missed=missed, missed_max=missed_max)
    except CronError as error:
        raise ContractError(f"@every: {error}") from None

    def tag(target: T) -> T:
        if not (inspect.isfunction(target) or (isinstance(target, type) and issubclass(target, Job))):
            raise ContractError(f"@every({cron!r}) must stand above a job class or a function, not {target!r}")
        tags = [*vars(target).get(TAG, ()), _Tag(timing=timing, name=name, tick_field=tick_field)]
        setattr(target, TAG, tags)
        return target

    return tag


def declarations_of(target: Any) -> list[Declaration]:
    """The schedules of a tagged class or function, none for anything else; raises `ContractError`."""
    is_target = inspect.isfunction(target) or isinstance(target, type)
    tags: list[_Tag] = vars(target).get(TAG, []) if is_target else []
    return [_declaration(target, tag) for tag in tags]


def _declaration(target: Any, tag: _Tag) -> Declaration:
    name = tag.name or _name_of(target)
    check_name("schedule", name)
    try:
        job = _made_by(target)
        if tag.tick_field is not None:
            check_tick_field(job, tag.tick_field)
    except ContractError as error:
        raise ContractError(f"schedule {name}: {error}") from error.__cause__
    return Declaration(name=name, timing=tag.timing, job=job, tick_field=tag.tick_field)


def _made_by(target: Any) -> Job:
    try:
        job = target()
        if isinstance(job, Job):
            check_body(job.clear_body() or b"")
            return job
    except ContractError:
        raise
    except (TypeError, ValueError) as error:
        raise ContractError(
            f"cannot make its job without arguments ({type(error).__name__}): give every field a default, or put "
            "@every above a function that returns the job"
        ) from error
    raise ContractError(f"the function must return a job, not a {type(job).__name__}")


def _name_of(target: Any) -> str:
    if isinstance(target, type) and issubclass(target, Job):
        return target.contract().type
    return f"{target.__module__}.{target.__qualname__}"
