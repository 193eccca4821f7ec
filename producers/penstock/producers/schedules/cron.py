"""The ticks of a cron expression in a time zone. They are instants in UTC; only the expression is local."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

FIELDS = 5
_WINDOW = timedelta(hours=1)
_WIDER = 24


class CronError(ValueError):
    """The expression or the time zone cannot be used; the text says why."""


class Cron:
    """Five fields, read as Debian's cron reads them.

    A time that a change of the clocks skips comes right after the gap, and one that comes twice comes the first time;
    what is said with `*` for the hour or the minute goes on with the real time.
    """

    def __init__(self, text: str, timezone: str) -> None:
        """Raises `CronError`."""
        self._text = text
        if len(text.split()) != FIELDS:
            raise CronError(f"{text!r} is no cron expression: it has five fields, like '0 7 * * *'")
        try:
            self._zone = ZoneInfo(timezone)
        except (ValueError, OSError, LookupError):
            raise CronError(f"{timezone!r} is no time zone: use a name like 'Europe/Warsaw' or 'UTC'") from None
        try:
            CronSim(text, datetime(2026, 1, 1, tzinfo=self._zone))
        except CronSimError as error:
            raise CronError(f"{text!r} is no cron expression: {error}") from None

    def after(self, time: datetime) -> datetime | None:
        """The first tick after `time`; None if there is none in 50 years."""
        return next(self.ticks(time), None)

    def ticks(self, after: datetime) -> Iterator[datetime]:
        """The ticks after `after`, for ever."""
        last = after.astimezone(UTC)
        # A wall clock that shows an hour twice makes the library begin too early, and in a gap it stands still.
        for tick in CronSim(self._text, after.astimezone(self._zone)):
            if (instant := tick.astimezone(UTC)) > last:
                last = instant
                yield instant

    def newest(self, *, first: datetime, until: datetime, count: int) -> list[datetime]:
        """The last `count` ticks from `first` to `until`, both included, in order.

        They are looked for from the end in wider and wider windows: after months without a scheduler, a tick for each
        minute would be a long way from the front.
        """
        window = _WINDOW
        while True:
            start = max(first - timedelta(microseconds=1), until - window)
            found = []
            for tick in self.ticks(start):
                if tick > until:
                    break
                found.append(tick)
            if len(found) >= count or start < first:
                return found[-count:]
            window *= _WIDER


def checked(text: str, timezone: str) -> Cron:
    """A cron expression that has a tick at all; raises `CronError`."""
    cron = Cron(text, timezone)
    if cron.after(datetime.now(UTC)) is None:
        raise CronError(f"{text!r} never comes: there is no such day")
    return cron
