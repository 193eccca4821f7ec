"""A job that comes by the clock, and what the clock alone says about it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from tests.faults.jobs import INSERT

from penstock.producers.schedules import every
from penstock.schemas import Job
from penstock.workers import Context, handler

NAME = "faults.minute"


@every("* * * * *", missed="all", name=NAME)
class Minute(Job, type="faults.minute", queue="faults"):
    """Once in every minute, also in those when nobody was there."""


@handler(Minute)
def mark(job: Minute, ctx: Context) -> None:
    """The row names the tick."""
    with ctx.transaction() as connection:
        connection.execute(INSERT, {"name": ctx.key})


def ticks_between(first: datetime, last: datetime) -> Iterator[str]:
    """The names of the ticks after `first`, up to `last`."""
    minute = first.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
    while minute <= last:
        yield f"{NAME}@{minute:%Y-%m-%dT%H:%M:%SZ}"
        minute += timedelta(minutes=1)
