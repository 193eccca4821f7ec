"""What people read."""

from datetime import UTC, datetime, timedelta

import pytest

from penstock.console.printing import one_line, plain
from penstock.ledger.durations import ago, brief_span, span

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.9, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (119, "1 min"),
        (7200, "2 h"),
        (7199, "1 h 59 min"),
        (86400, "1 d"),
        (3 * 86400 + 7300, "3 d 2 h"),
    ],
)
def test_a_length_of_time_is_told_at_a_glance(seconds: float, text: str) -> None:
    """In the largest unit; hours and days with the next one."""
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59, "59 s"), (100, "2 min"), (3599, "60 min"), (3600, "1 h"), (7199, "2 h"), (2 * 86400, "2 d")],
)
def test_in_a_column_one_unit_is_enough(seconds: float, text: str) -> None:
    """Rounded to the nearest."""
    assert brief_span(seconds) == text


def test_a_time_is_told_from_now() -> None:
    """Before and after; nothing for none."""
    assert ago(NOW - timedelta(minutes=3), NOW) == "3 min ago"
    assert ago(NOW + timedelta(minutes=3), NOW) == "in 3 min"
    assert ago(None, NOW) == ""


def test_no_control_character_passes() -> None:
    """They could clear the screen, hide a line, or type."""
    assert plain("a\x1b[2Jb\r\x07\u202ec\td") == r"a\x1b[2Jb\r\x07\u202ec\td"
    assert plain("zwei\nZeilen – äöü") == "zwei\nZeilen – äöü"


def test_an_error_is_one_line_without_a_password() -> None:
    """Whoever wrote it."""
    said = "cannot use\n  amqp://ann:s3/c@ret@host:5672/x\tand postgresql+psycopg://bob:p%40ss@host/db"
    assert one_line(said) == "cannot use amqp://ann:***@host:5672/x and postgresql+psycopg://bob:***@host/db"
