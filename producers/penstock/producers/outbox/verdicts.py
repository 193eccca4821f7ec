"""What follows from the error of a publish: pure decisions."""

from collections.abc import Collection
from dataclasses import dataclass, field

from penstock.producers.client import InvalidJob, PublishError, PublishRefused, PublishTimeout, Unroutable

# A type that gets no confirms (a full queue) is left alone for so long, then for twice as long, and so on.
PAUSE_SECONDS = 2.5
PAUSE_SECONDS_MAX = 10.0


def is_fault_of_the_row(error: PublishError) -> bool:
    """The broker is well and will not take this one: it is held, and the others go on."""
    return isinstance(error, InvalidJob | PublishRefused | Unroutable)


def is_fault_of_the_type(error: PublishError) -> bool:
    """No confirm within the deadline: others of its type would wait for as long. Anything else is the broker's."""
    return isinstance(error, PublishTimeout)


def reason_of(error: PublishError) -> str:
    """What is wrong and the remedy, without the id, which stands beside it."""
    return str(error).removeprefix(f"job {error.job_id}: ")


@dataclass(slots=True)
class Pauses:
    """Types that are left alone for a while; times are monotonic seconds."""

    _until: dict[str, float] = field(default_factory=dict)
    _seconds: dict[str, float] = field(default_factory=dict)

    def begin(self, name: str, *, now: float) -> float:
        """Leave a type alone, for longer than the last time; returns for how long."""
        seconds = min(PAUSE_SECONDS_MAX, 2 * self._seconds.get(name, PAUSE_SECONDS / 2))
        self._seconds[name], self._until[name] = seconds, now + seconds
        return seconds

    def end(self, names: Collection[str]) -> None:
        """They were confirmed."""
        for name in names:
            self._seconds.pop(name, None)
            self._until.pop(name, None)

    def running(self, *, now: float) -> list[str]:
        """The types to leave alone now."""
        return [name for name, until in self._until.items() if until > now]

    def is_hopeless(self, name: str) -> bool:
        """Whether it got no confirm however long it was left alone."""
        return self._seconds.get(name, 0.0) >= PAUSE_SECONDS_MAX

    def is_tried_again(self, names: Collection[str]) -> bool:
        """Whether one of these got no confirm the last time."""
        return not self._seconds.keys().isdisjoint(names)
