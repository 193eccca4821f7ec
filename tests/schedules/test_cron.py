"""Ticks over changes of the clocks, as Debian's cron has them."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest

from penstock.producers.schedules.cron import Cron, CronError, checked

WARSAW, NEW_YORK = "Europe/Warsaw", "America/New_York"


def local(text: str, zone: str, *, fold: int = 0) -> datetime:
    """A time by the clock on the wall there."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)


def walls(cron: str, zone: str, start: datetime, count: int) -> list[str]:
    """The next ticks by the clock on the wall."""
    return [f"{tick.astimezone(ZoneInfo(zone)):%m-%d %H:%M%z}" for tick in islice(Cron(cron, zone).ticks(start), count)]


@pytest.mark.parametrize(
    ("zone", "eve", "expected"),
    [
        (WARSAW, "2026-03-28 07:00", ["03-28 07:30+0100", "03-29 07:30+0200", "03-30 07:30+0200"]),
        (WARSAW, "2026-10-24 07:00", ["10-24 07:30+0200", "10-25 07:30+0100", "10-26 07:30+0100"]),
        (NEW_YORK, "2026-03-07 07:00", ["03-07 07:30-0500", "03-08 07:30-0400", "03-09 07:30-0400"]),
        (NEW_YORK, "2026-10-31 07:00", ["10-31 07:30-0400", "11-01 07:30-0500", "11-02 07:30-0500"]),
    ],
)
def test_half_past_seven_stays_half_past_seven(zone: str, eve: str, expected: list[str]) -> None:
    """By the wall, in spring and in autumn."""
    assert walls("30 7 * * *", zone, local(eve, zone), 3) == expected


@pytest.mark.parametrize(
    ("zone", "cron", "eve", "expected"),
    [
        (WARSAW, "30 2 * * *", "2026-03-28 12:00", ["03-29 03:00+0200", "03-30 02:30+0200"]),
        (NEW_YORK, "30 2 * * *", "2026-03-07 12:00", ["03-08 03:00-0400", "03-09 02:30-0400"]),
        (WARSAW, "0,30 2 * * *", "2026-03-28 12:00", ["03-29 03:00+0200", "03-30 02:00+0200"]),
    ],
)
def test_a_time_that_spring_skips_comes_once_right_after_the_gap(
    zone: str, cron: str, eve: str, expected: list[str]
) -> None:
    """Not at all would be a day without it."""
    assert walls(cron, zone, local(eve, zone), 2) == expected


@pytest.mark.parametrize(
    ("zone", "eve", "expected"),
    [
        (WARSAW, "2026-10-24 12:00", ["10-25 02:30+0200", "10-26 02:30+0100"]),
        (NEW_YORK, "2026-10-31 12:00", ["11-01 02:30-0500", "11-02 02:30-0500"]),
    ],
)
def test_a_time_that_autumn_has_twice_comes_the_first_time(zone: str, eve: str, expected: list[str]) -> None:
    """In New York the hour that comes twice is the one before."""
    assert walls("30 2 * * *", zone, local(eve, zone), 2) == expected
    assert walls("30 1 * * *", NEW_YORK, local("2026-10-31 12:00", NEW_YORK), 2) == [
        "11-01 01:30-0400",
        "11-02 01:30-0500",
    ]


def test_nothing_comes_again_while_the_hour_runs_for_the_second_time() -> None:
    """Asked at 02:10 the second time, the tick of 02:30 the first time lies behind us."""
    second = local("2026-10-25 02:10", WARSAW, fold=1)
    assert walls("30 2 * * *", WARSAW, second, 1) == ["10-26 02:30+0100"]


@pytest.mark.parametrize(
    ("zone", "start", "ticks"), [(WARSAW, "2026-10-25 01:59", 8), (NEW_YORK, "2026-11-01 00:59", 8)]
)
def test_every_quarter_of_an_hour_goes_on_with_the_real_time(zone: str, start: str, ticks: int) -> None:
    """Two hours of the wall are three, or one, and have a tick each 15 minutes all the same."""
    found = list(islice(Cron("*/15 * * * *", zone).ticks(local(start, zone)), ticks))
    assert [later - earlier for earlier, later in pairwise(found)] == [timedelta(minutes=15)] * 7
    spring = list(islice(Cron("*/15 * * * *", WARSAW).ticks(local("2026-03-29 01:29", WARSAW)), 4))
    assert [later - earlier for earlier, later in pairwise(spring)] == [timedelta(minutes=15)] * 3


def test_the_newest_ticks_are_found_after_months_as_after_minutes() -> None:
    """In order, both ends included."""
    cron = Cron("* * * * *", "UTC")
    until = datetime(2026, 11, 24, 12, 0, 30, tzinfo=UTC)
    last = until.replace(second=0)
    long_ago = datetime(2025, 1, 1, tzinfo=UTC)
    assert cron.newest(first=long_ago, until=until, count=1) == [last]
    minutes = [last - timedelta(minutes=n) for n in range(89, -1, -1)]
    assert cron.newest(first=long_ago, until=until, count=90) == minutes
    assert cron.newest(first=last, until=until, count=90) == [last]
    assert cron.newest(first=last, until=last, count=90) == [last]
    yearly = Cron("0 0 1 1 *", "UTC")
    assert yearly.newest(first=datetime(2020, 1, 1, tzinfo=UTC), until=until, count=3) == [
        datetime(year, 1, 1, tzinfo=UTC) for year in (2024, 2025, 2026)
    ]


@pytest.mark.parametrize(
    ("text", "zone", "said"),
    [
        ("0 7 * *", "UTC", "five fields"),
        ("0 0 7 * * *", "UTC", "five fields"),
        ("0 25 * * *", "UTC", "no cron expression"),
        ("0 7 * * *", "Europe/Atlantis", "no time zone"),
        ("0 7 * * *", "../etc/passwd", "no time zone"),
        ("0 7 * * *", "", "no time zone"),
        ("0 0 30 2 *", "UTC", "no cron expression|never comes"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, zone: str, said: str) -> None:
    """With the reason."""
    with pytest.raises(CronError, match=said):
        checked(text, zone)
