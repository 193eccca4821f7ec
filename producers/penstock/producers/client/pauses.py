"""What gets no confirms, a type or a queue, is left alone for a while, so that it holds up no other."""

from collections.abc import Iterable
from dataclasses import dataclass, field

# For so long, then for twice as long, and so on.
PAUSE_SECONDS = 2.5
PAUSE_SECONDS_MAX = 10.0


@dataclass(slots=True)
class Pauses:
    """By name; times are monotonic seconds."""

    _until: dict[str, float] = field(default_factory=dict)
    _seconds: dict[str, float] = field(default_factory=dict)

    def begin(self, name: str, *, now: float) -> float:
        """Leave it alone, for longer than the last time; returns for how long."""
        seconds = min(PAUSE_SECONDS_MAX, 2 * self._seconds.get(name, PAUSE_SECONDS / 2))
        self._seconds[name], self._until[name] = seconds, now + seconds
        return seconds

    def end(self, names: Iterable[str]) -> None:
        """They were confirmed."""
        for name in names:
            self._seconds.pop(name, None)
            self._until.pop(name, None)

    def running(self, *, now: float) -> list[str]:
        """What to leave alone now."""
        return [name for name, until in self._until.items() if until > now]

    def is_hopeless(self, name: str) -> bool:
        """Whether it got no confirm however long it was left alone."""
        return self._seconds.get(name, 0.0) >= PAUSE_SECONDS_MAX

    def ill(self, names: Iterable[str]) -> list[str]:
        """Those of these that got no confirm the last time, whose pause ends first, first: to be tried alone, since
        their queue may hang the whole channel, and what was sent beside it would be paused for its sake."""
        return sorted((name for name in dict.fromkeys(names) if name in self._until), key=self._until.__getitem__)
