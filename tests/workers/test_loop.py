"""The loop that dispatcher, scheduler, rescuer and replier share."""

from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import CapturingLogger
from tests.waiting import until

from penstock.ledger.database import Ledger, Session
from penstock.workers.loop import Loop


class Watcher(Loop):
    """Passes, or fails with what it is told to; notes what the loop does with it."""

    def __init__(self, ledger: Ledger, *, log: Any) -> None:
        super().__init__(ledger, name="watcher", healthy_seconds=0.5, log=log)
        self.error: Exception | None = None
        self.sessions: list[Session] = []
        self.notes: list[str] = []

    def _pass(self, session: Session) -> float:
        self.sessions.append(session)
        if self.error is not None:
            raise self.error
        return 0.01

    def _upset(self) -> None:
        self.notes.append("upset")

    def _sign_off(self, session: Session) -> None:
        self.notes.append("signed off")


@pytest.fixture
def watcher(ledger_url: str) -> Iterator[Watcher]:
    """One that passes."""
    watcher = Watcher(Ledger(ledger_url), log=CapturingLogger())
    watcher.start()
    yield watcher
    watcher.stop()


def logged(watcher: Watcher) -> list[str]:
    """The levels and texts of its lines."""
    return [f"{call.method_name}: {call.args[0]}" for call in watcher._log.calls]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionResetError("gone"), "warning: the watcher is held up"),
        (ZeroDivisionError(), "error: the watcher stumbled"),
    ],
)
def test_it_goes_on_after_whatever_goes_wrong(watcher: Watcher, error: Exception, said: str) -> None:
    """Unhealthy as long as it lasts, on a new session afterwards; what was seen before is forgotten."""
    until(lambda: len(watcher.sessions) > 3 and watcher.is_healthy, what="some passes")
    watcher.error = error
    until(lambda: logged(watcher) and not watcher.is_healthy, what="its health to be gone")
    assert set(logged(watcher)) == {said}
    watcher.error = None
    until(lambda: watcher.is_healthy, what="its health to be back")
    assert watcher.notes == ["upset"] * len(logged(watcher))
    assert watcher.sessions[-1] is not watcher.sessions[0]


def test_its_last_words_come_when_it_is_told_to_stop(watcher: Watcher) -> None:
    """After the pass that is under way; then it makes no other."""
    until(lambda: watcher.sessions, what="a pass")
    watcher.stop()
    passes = len(watcher.sessions)
    assert watcher.notes == ["signed off"]
    assert not watcher._thread.is_alive()
    assert len(watcher.sessions) == passes
