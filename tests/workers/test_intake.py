"""The intake: how much is claimed, and what is handed back."""

import math
import time
from typing import Any

import pytest
import structlog
from tests.workers import jobs
from tests.workers.samples import a_claim

from penstock.ledger.batch import BATCH_JOBS_MAX
from penstock.ledger.settlement import Outcome
from penstock.ledger.state import Reason, State
from penstock.workers import PenstockBroker, Registry
from penstock.workers.handler import TAG
from penstock.workers.holding import WINDOW_SECONDS, Holding
from penstock.workers.intake import HELD_JOBS_MAX, LOOK_AHEAD_JOBS_MAX, POLL_SECONDS
from penstock.workers.ledger_intake import LedgerIntake, idle_seconds


class Settled(list[Outcome]):
    """Takes outcomes where a settler would."""

    put = list.append


def an_intake(*, threads: int = 4) -> tuple[LedgerIntake, Holding, Settled]:
    """An intake without a ledger, of a process that may start jobs."""
    registry = Registry(PenstockBroker())
    registry.add(getattr(jobs.take_note, TAG), jobs.take_note)
    holding, settled = Holding(threads=threads), Settled()
    holding.fresh_until = math.inf
    parts: dict[str, Any] = {"ledger": None, "metrics": None, "settler": settled, "log": structlog.get_logger()}
    intake = LedgerIntake(queues=["test"], holding=holding, registry=registry, process_id="me", **parts)
    return intake, holding, settled


def take(holding: Holding) -> None:
    """What a worker thread does when it takes a claim."""
    item = holding.ready.get_nowait()
    assert item is not None
    holding.taken_at = item[2]
    holding.started[0] += 1


def pass_seconds(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let the clock of the engine jump."""
    later = time.monotonic() + seconds
    monkeypatch.setattr(time, "monotonic", lambda: later)


def test_an_idle_process_claims_one_job_for_each_thread() -> None:
    """Nothing has been started lately, so nothing is claimed ahead."""
    intake, _, _ = an_intake(threads=4)
    assert intake._capacity() == 4


def test_a_busy_process_claims_ahead_what_it_has_started_lately() -> None:
    """And never more than a batch, or a thousand in all."""
    intake, holding, _ = an_intake(threads=4)
    holding.claimed = holding.started[0] = 100
    holding.finished[0] = 96
    assert intake._capacity() == 100
    holding.started[1] = holding.claimed = 5000
    holding.finished[0], holding.finished[1] = 100, 4996
    assert intake._capacity() == BATCH_JOBS_MAX
    holding.claimed = 5000 + LOOK_AHEAD_JOBS_MAX
    assert intake._capacity() == 0


def test_what_waits_to_be_settled_bounds_what_is_claimed() -> None:
    """Handlers return faster than their writes are executed: the rest waits where another process can have it."""
    intake, holding, _ = an_intake(threads=4)
    holding.claims = {str(n): a_claim() for n in range(HELD_JOBS_MAX - 1)}
    assert intake._capacity() == 1
    holding.claims["one more"] = a_claim()
    assert intake._capacity() == 0


@pytest.mark.parametrize("why", ["closed", "stale heartbeat", "every thread is busy"])
def test_nothing_is_claimed_that_could_not_start(why: str) -> None:
    """A process that stops, or may be taken for dead any moment, or is full."""
    intake, holding, _ = an_intake(threads=2)
    holding.closed = why == "closed"
    holding.fresh_until = 0.0 if why == "stale heartbeat" else math.inf
    holding.claimed = 2 if why == "every thread is busy" else 0
    assert intake._capacity() == 0


def test_a_batch_gathers_while_every_thread_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims of two jobs cost as much as of fifty."""
    pass_seconds(monkeypatch, 0.0)
    intake, holding, _ = an_intake(threads=4)
    holding.started[0] = 100
    holding.claimed, holding.finished[0] = 100 + 60, 96
    assert holding.outstanding == 64
    assert intake._capacity() == 0
    holding.finished[0] += 20
    assert intake._capacity() == 60


def test_what_was_started_longer_ago_than_the_window_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """The look-ahead is what is sure to be used soon."""
    _, holding, _ = an_intake()
    holding.started[0] = 50
    assert holding.started_lately() == 50
    pass_seconds(monkeypatch, 2 * WINDOW_SECONDS)
    holding.started_lately()
    assert holding.started_lately() == 0


def test_claims_that_wait_for_a_thread_for_a_second_are_handed_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else may have room for them; nothing is used up, and the arithmetic is even."""
    intake, holding, settled = an_intake()
    claims = [a_claim() for _ in range(3)]
    intake._start(claims)
    intake._hand_back_stale()
    assert settled == []
    pass_seconds(monkeypatch, 1.5)
    intake._hand_back_stale()
    assert [(it.job_id, it.state, it.counts) for it in settled] == [(it.id, State.AVAILABLE, False) for it in claims]
    assert holding.outstanding == 0


def test_a_process_under_load_hands_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its buffer may never be empty, but what is in it is fresh."""
    intake, holding, settled = an_intake()
    intake._start([a_claim() for _ in range(4)])
    for _ in range(5):
        pass_seconds(monkeypatch, 0.6)
        intake._start([a_claim() for _ in range(4)])
        for _ in range(4):
            take(holding)
        intake._hand_back_stale()
    assert settled == []
    pass_seconds(monkeypatch, 1.5)
    intake._hand_back_stale()
    assert len(settled) == 4


def test_a_claim_of_an_unknown_type_or_version_waits_for_a_worker_that_knows_it() -> None:
    """It goes back with a reason and a delay, and takes no room here."""
    intake, holding, settled = an_intake()
    intake._start([a_claim(version=2), a_claim(type="test.unheard_of")])
    assert [(it.reason, it.state, it.counts, it.delay_seconds) for it in settled] == [
        (Reason.UNKNOWN_VERSION, State.AVAILABLE, False, 30.0),
        (Reason.UNKNOWN_TYPE, State.AVAILABLE, False, 30.0),
    ]
    assert (holding.outstanding, holding.ready.qsize()) == (0, 0)


def test_a_job_that_still_runs_here_is_not_started_beside_itself() -> None:
    """A rescuer gave it up and we claimed it again: the self-check hands the second claim back."""
    intake, holding, _ = an_intake()
    first = a_claim()
    second = a_claim(id=first.id)
    intake._start([first, second])
    assert holding.ready.qsize() == 1
    assert holding.claims == {first.id: first}


@pytest.mark.parametrize(("next_due", "waits"), [(None, 1.0), (3600.0, 1.0), (0.3, 0.3), (-5.0, POLL_SECONDS)])
def test_who_is_told_of_new_jobs_waits_until_the_next_is_due(next_due: float | None, waits: float) -> None:
    """And never for long; a due job that was not claimed is in somebody else's hands, and is looked for soon."""
    assert idle_seconds(next_due) == waits


def test_outstanding_is_what_waits_or_runs() -> None:
    """Claimed, less what was handed back or has finished, in whatever order."""
    holding = Holding(threads=2)
    holding.claimed = 5
    holding.started[0] = holding.started[1] = 2
    holding.finished[1] = 2
    holding.handed_back = 1
    assert (holding.outstanding, holding.running, holding.idle_threads) == (2, 2, 0)
    holding.finished[0] = 2
    assert (holding.outstanding, holding.running, holding.idle_threads) == (0, 0, 2)
