"""A ledger and a session on it, on each kind of database, in an hour that does not end meanwhile."""

from datetime import UTC, datetime

import pytest
from tests.ledger.conftest import ledger, session
from tests.waiting import until

__all__ = ["ledger", "session"]


@pytest.fixture(autouse=True)
def _no_tick_of_the_clock_meanwhile() -> None:
    """The schedules here tick with the hour: a test that saw it end would find one tick more than it has made."""
    until(lambda: datetime.now(UTC).strftime("%M:%S") < "59:30", timeout_seconds=40, what="the next hour")
