"""Times as they are typed: an instant in ISO 8601, or a distance from now."""

import re
from datetime import UTC, datetime, timedelta

from penstock.console.exits import bad_input

_DISTANCE = re.compile(r"\+(\d{1,9})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_due(text: str | None, *, option: str = "--due") -> datetime | None:
    """An aware time from `2026-11-23T07:00:00Z`, `+30s`, `+5m`, `+2h` or `+1d`."""
    if text is None:
        return None
    distance = _DISTANCE.fullmatch(text)
    try:
        if distance is not None:
            return datetime.now(UTC) + timedelta(**{_UNITS[distance[2]]: int(distance[1])})
        instant = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise bad_input(f"{option} {text!r} is no time: write 2026-11-23T07:00:00Z, or +30s, +5m, +2h, +1d") from None
    if instant.tzinfo is None:
        raise bad_input(f"{option} {text!r} has no time zone: add Z for UTC, or an offset like +01:00")
    return instant.astimezone(UTC)
