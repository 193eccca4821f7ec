"""Lengths of time in words."""

from collections.abc import Callable
from datetime import datetime

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def span(seconds: float) -> str:
    """A length of time at a glance: `40 s`, `3 min`, `1 h 59 min`, `5 d 2 h`."""
    whole = int(seconds)
    place = next((place for place, (size, _) in enumerate(_UNITS) if whole >= size), len(_UNITS) - 1)
    size, unit = _UNITS[place]
    text = f"{whole // size} {unit}"
    if unit in ("d", "h"):
        smaller, its_unit = _UNITS[place + 1]
        text += f" {rest} {its_unit}" if (rest := whole % size // smaller) else ""
    return text


def brief_span(seconds: float) -> str:
    """The same in one unit, for a column: `2 h` for `1 h 59 min`."""
    size, unit = next(((size, unit) for size, unit in _UNITS if seconds >= size), _UNITS[-1])
    return f"{round(seconds / size)} {unit}"


def ago(time: datetime | None, now: datetime, *, told: Callable[[float], str] = span) -> str:
    """When that was, or will be, seen from now."""
    if time is None:
        return ""
    seconds = (now - time).total_seconds()
    return f"{told(seconds)} ago" if seconds >= 0 else f"in {told(-seconds)}"
