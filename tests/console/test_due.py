"""Times on the command line."""

from datetime import UTC, datetime, timedelta

import pytest

from penstock.console.due import parse_due
from penstock.console.exits import Failure


@pytest.mark.parametrize(
    ("text", "distance"),
    [
        ("+30s", timedelta(seconds=30)),
        ("+5m", timedelta(minutes=5)),
        ("+2h", timedelta(hours=2)),
        ("+1d", timedelta(days=1)),
    ],
)
def test_a_distance_counts_from_now(text: str, distance: timedelta) -> None:
    """Seconds, minutes, hours, days."""
    due = parse_due(text)
    assert due is not None
    assert abs(due - datetime.now(UTC) - distance) < timedelta(seconds=5)


def test_an_instant_is_taken_with_its_offset() -> None:
    """And is UTC from then on."""
    assert parse_due("2026-11-23T07:00:00+01:00") == datetime(2026, 11, 23, 6, tzinfo=UTC)
    assert parse_due("2026-11-23T07:00:00Z") == datetime(2026, 11, 23, 7, tzinfo=UTC)
    assert parse_due(None) is None


@pytest.mark.parametrize("text", ["", "soon", "+", "+5", "5m", "+5x", "-5m", "+99999999d", "2026-13-01T00:00:00Z"])
def test_anything_else_is_refused(text: str) -> None:
    """With the forms that are taken."""
    with pytest.raises(Failure, match="is no time"):
        parse_due(text)
