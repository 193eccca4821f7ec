"""What a loop does beside its work takes a share of its time, and no more."""

import contextlib
from dataclasses import dataclass

import pytest

from penstock.ledger import chore
from penstock.ledger.chore import Chore


@dataclass
class Clock:
    """Goes on when it is told to."""

    seconds: float = 1000.0

    def monotonic(self) -> float:
        """As `time` has it."""
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The one by which chores go."""
    clock = Clock()
    monkeypatch.setattr(chore, "time", clock)
    return clock


def due_after(it: Chore, clock: Clock, *, every_seconds: float = 0.0) -> float:
    """How many seconds it rests, to the next half."""
    began = clock.seconds
    while not it.is_due(every_seconds=every_seconds):
        clock.seconds += 0.5
    return clock.seconds - began


def test_the_longer_it_takes_the_longer_it_rests(clock: Clock) -> None:
    """A tenth of the time; it is due at the start, and what takes no time is due as often as it is wanted."""
    it = Chore(share=0.1)
    assert due_after(it, clock) == 0.0
    with it:
        clock.seconds += 2.0
    assert due_after(it, clock) == 20.0
    with it:
        pass
    assert due_after(it, clock, every_seconds=5.0) == 5.0


def test_one_that_fails_has_been_done_too(clock: Clock) -> None:
    """Else it would be tried again at once, and nothing else be done."""
    it = Chore(share=0.1)
    with contextlib.suppress(ZeroDivisionError), it:
        clock.seconds += 2.0
        raise ZeroDivisionError
    assert due_after(it, clock, every_seconds=1.0) == 20.0


def test_it_rests_no_longer_than_it_may(clock: Clock) -> None:
    """What others wait for must come, however long it takes."""
    it = Chore(share=0.1, rest_seconds_max=8.0)
    with it:
        clock.seconds += 60.0
    assert due_after(it, clock) == 8.0
