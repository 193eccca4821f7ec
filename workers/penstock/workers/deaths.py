"""What the supervisor writes into the ledger about its processes: deaths, deadlines, abandoned boards.

The supervisor forks, so it keeps no connection: each of these opens a session for one transaction.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.ledger import processes
from penstock.ledger.admission import Claim
from penstock.ledger.jobs import show_job
from penstock.ledger.rescue import Rescued, rescue_crashed, rescue_interrupted, rescue_lost
from penstock.ledger.settlement import Failure, Outcome, settle
from penstock.ledger.state import Reason, State
from penstock.ledger.transitions import Death
from penstock.workers.board import LANE, Board
from penstock.workers.execution import decide_retry
from penstock.workers.liveness import is_held

if TYPE_CHECKING:
    from penstock.ledger.database import Ledger
    from penstock.workers.board import Page, Running
    from penstock.workers.pool import Pool
    from penstock.workers.registry import Registry


@dataclass(frozen=True, slots=True)
class DeadProcess:
    """A child that has ended. `running` is what its page on the board said; `intended`: we ended it ourselves."""

    process_id: str
    kind: int
    status: int  # as from `os.waitpid`
    running: tuple[str, ...]
    intended: bool

    @property
    def how(self) -> str:
        """For people: "SIGSEGV", "exit status 3"."""
        if os.WIFSIGNALED(self.status):
            number = os.WTERMSIG(self.status)
            # A real-time signal has no name.
            return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        return f"exit status {os.waitstatus_to_exitcode(self.status)}"

    @property
    def death(self) -> Death:
        killed = os.WIFSIGNALED(self.status) and os.WTERMSIG(self.status) in (signal.SIGKILL, signal.SIGTERM)
        return Death.KILLED if killed else Death.OWN_DOING


def record_death(ledger: Ledger, dead: DeadProcess) -> list[Rescued]:
    """Free what the process held, blame what it ran; raises when the ledger cannot be reached."""
    with ledger.session() as session:
        if dead.intended:
            freed = rescue_interrupted(session, process_id=dead.process_id, running=dead.running)
        else:
            freed = rescue_crashed(
                session,
                process_id=dead.process_id,
                running=dead.running,
                death=dead.death,
                alone=dead.kind == LANE,
                how=dead.how,
            )
        processes.deregister(session, dead.process_id)
    return freed


def record_timeout(
    ledger: Ledger, registry: Registry, running: Running, *, process_id: str
) -> tuple[Outcome, Claim] | None:
    """The deadline of a job has passed: fence it and settle it; None if it was settled meanwhile."""
    with ledger.session() as session:
        row = show_job(session, running.job_id)
        if row is None or row["state"] != State.EXECUTING or row["token"] != running.token:
            return None
        entry = registry.find(row["type"], row["version"])
        seconds = entry.contract.timeout_seconds if entry is not None else 0.0
        failure = Failure(
            "timeout",
            error_class="Timeout",
            message=f"ran longer than its timeout of {seconds:g} seconds",
            fingerprint=f"timeout:{row['type']}",
        )
        claim = Claim(
            row["id"],
            row["type"],
            row["version"],
            row["queue"],
            b"",
            running.token,
            attempts=row["attempts"],
        )
        if entry is None or row["at_most_once"]:
            outcome = Outcome(claim.id, claim.token, State.DEAD, Reason.OUTCOME_UNKNOWN, failure=failure)
        else:
            outcome = decide_retry(claim, entry, TimeoutError(failure.message), failure)
        return None if settle(session, [outcome], process_id=process_id) else (outcome, claim)


def clear_abandoned(ledger: Ledger, pool: Pool) -> dict[str, list[Rescued]]:
    """Boards of supervisors that are gone: free what their dead processes held, at once instead of by lapse.

    Returns it by process. Who still lives has seen the pipe close, and is stopping by itself: look again later.
    """
    found: dict[str, list[Rescued]] = {}
    for path in sorted(pool.boards_dir.glob("*.board")):
        with Board.abandoned(path) as board:
            if board is None:
                continue
            living = False
            for page in board:
                if page.process_id is None:
                    continue
                if is_held(str(pool.lock_path(page.process_id))):
                    living = True
                else:
                    found |= _free_abandoned(ledger, page, pool)
        if not living:
            path.unlink(missing_ok=True)
    return found


def _free_abandoned(ledger: Ledger, page: Page, pool: Pool) -> dict[str, list[Rescued]]:
    process_id = str(page.process_id)
    running = [it.job_id for it in page.running().values()]
    with ledger.session() as session:
        freed = rescue_lost(session, process_id=process_id, running=running)
        processes.deregister(session, process_id)
    page.vacate()
    pool.lock_path(process_id).unlink(missing_ok=True)
    return {process_id: freed}
