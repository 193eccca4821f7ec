"""The minutes of the clock, by which a gateway counts on its own how much each caller asks."""

import time

from tests.waiting import until

SECONDS = 60
# What is counted exactly has to be over by the end of the minute: the next one forgets a part of it.
SECONDS_LEFT_MIN = 10


def enough_of_this_one() -> None:
    """Wait, if this minute is nearly over, for the next one."""
    until(lambda: time.time() % SECONDS < SECONDS - SECONDS_LEFT_MIN, what="a new minute")
