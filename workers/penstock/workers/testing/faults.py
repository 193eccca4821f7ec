"""What can go wrong around a handler, on demand."""

from __future__ import annotations

import sys
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

from penstock.workers.sessions import HandlerSessions

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.ledger.database import Session

T = TypeVar("T")


class Fault(Enum):
    """Each happens once, to the job that comes there first."""

    CRASH_AFTER_EFFECT = "the process dies after an effect of `ctx.effect`, before that is noted"
    SETTLE_LOST = "the process dies after the handler has returned, before its outcome is settled"
    DUPLICATE_DELIVERY = "the message comes a second time after the job has run"


class ProcessDied(BaseException):
    """Stands for a death: what the handler makes of it changes nothing, as nobody lives to write it."""


class MortalSessions(HandlerSessions):
    """Sessions of a process that may be told to die before it notes an effect."""

    dies_after_effect = False
    has_died = False

    def insist(self, action: Callable[[Session], T]) -> T:
        # While an exception is on its way, what is noted is that the effect did not happen.
        if self.dies_after_effect and sys.exc_info()[0] is None:
            self.dies_after_effect, self.has_died = False, True
            raise ProcessDied
        return super().insist(action)


def refuse_unused(left: list[Fault], ran: int) -> None:
    """A fault that never happened has shown nothing. Raises `AssertionError`."""
    said: dict[Any, str] = {
        Fault.CRASH_AFTER_EFFECT: "no handler had an effect in `with ctx.effect(…)` that was needed",
        Fault.SETTLE_LOST: "no job was settled; what ends in `ctx.transaction()` has no settle that could be lost",
        Fault.DUPLICATE_DELIVERY: "no job ran; call drain()",
    }
    if left:
        raise AssertionError(f"{left[0].name} was injected and never happened, in {ran} runs: {said[left[0]]}")
