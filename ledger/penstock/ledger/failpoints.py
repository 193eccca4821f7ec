"""Named points between two steps of the protocol, at which a test has a process killed, paused or cut off.

Off unless `PENSTOCK_FAILPOINTS` names a folder when a process starts; then each point costs a call that does nothing.
A file of its name in that folder arms a point and says what to do. Whoever reaches it first takes the file away, so
that it happens once, in one process.
"""

import os
import signal
import threading
from enum import StrEnum
from pathlib import Path
from typing import Any

VARIABLE = "PENSTOCK_FAILPOINTS"
FOLDER = os.environ.get(VARIABLE)


class Failpoint(StrEnum):
    """Each is reached right after what its name says, and before whatever follows."""

    ACCEPTED = "accepted"  # jobs are committed, the publisher has no receipt
    DUE_SELECTED = "due-selected"
    DUE_PUBLISHED = "due-published"  # on their way to RabbitMQ, not confirmed
    DUE_CONFIRMED = "due-confirmed"  # and not marked
    DUE_MARKED = "due-marked"
    DELIVERED = "delivered"  # in the intake's hands, not claimed
    CLAIMED = "claimed"  # committed, not acked
    ACKED = "acked"  # and not handed to a thread
    STARTED = "started"  # on the board, the handler not called
    COMMITTING = "committing"  # all of the handler's transaction is written, COMMIT is not sent
    COMMITTED = "committed"
    INTENDED = "intended"  # the effect has not happened
    HAPPENED = "happened"  # the effect, but it is not recorded
    RECORDED = "recorded"
    RETURNED = "returned"  # the handler, but its outcome is not handed over
    SETTLING = "settling"  # outcomes are in the settler's hands
    SETTLED = "settled"
    DEATH_SEEN = "death-seen"  # by the supervisor, but not recorded
    DEATH_RECORDED = "death-recorded"
    REPLAYED = "replayed"  # one batch of a replay is committed
    TICK_TAKEN = "tick-taken"  # the row of the schedule is locked, nothing is written
    TICK_WRITTEN = "tick-written"  # its job and its next tick, but COMMIT is not sent
    TICK_FIRED = "tick-fired"  # committed
    REPLIES_SELECTED = "replies-selected"
    REPLIES_CONFIRMED = "replies-confirmed"  # by RabbitMQ, and not crossed out
    REPLIES_MARKED = "replies-marked"
    ROWS_TAKEN = "rows-taken"  # by a relay, from an outbox; nothing is published
    ROWS_CONFIRMED = "rows-confirmed"  # by RabbitMQ, and not deleted
    ROWS_DELETED = "rows-deleted"


class Deed(StrEnum):
    """What can be made to happen at a point."""

    KILL = "kill"
    STOP = "stop"  # as SIGSTOP does, until somebody sends SIGCONT
    LOSE = "lose"  # the ledger's answer is lost


def warn_if_armed(log: Any) -> None:
    """Whoever finds the variable set in production should find it soon."""
    if FOLDER is not None:
        log.warning("this process can be killed at its failpoints; that is for tests", folder=FOLDER)


def reach(point: Failpoint) -> None:
    """Do what the point is armed with, if it is."""
    if FOLDER is not None:
        _act(Path(FOLDER) / point)


def _act(armed: Path) -> None:
    taken = armed.with_name(f"{armed.name}.{os.getpid()}")
    try:
        armed.rename(taken)
    except FileNotFoundError:
        return
    deed = Deed(taken.read_text())
    if deed is Deed.LOSE:
        from penstock.ledger.database import LedgerUnavailable  # noqa: PLC0415 - a relay runs without SQLAlchemy

        raise LedgerUnavailable(f"the answer was lost at the failpoint {armed.name}")
    # To this very thread: another one might take a signal to the process, and this one go on for a moment.
    signal.pthread_kill(threading.get_ident(), signal.SIGKILL if deed is Deed.KILL else signal.SIGSTOP)
