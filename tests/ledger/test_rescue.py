"""A process is gone: which of its jobs run again, which are blamed, and which must not start twice."""

from sqlalchemy import select
from tests.ledger.samples import (
    OTHER_PROCESS,
    OTHER_TOKEN,
    PROCESS,
    TOKEN,
    accepted,
    change,
    claimed,
    row_of,
    state_of,
)

from penstock.ledger import jobs
from penstock.ledger.claims import claim_due, executing_under, has_suspects
from penstock.ledger.database import Session
from penstock.ledger.dead_letters import group_dead
from penstock.ledger.dispatches import select_due
from penstock.ledger.rescue import rescue_crashed, rescue_interrupted, rescue_lost
from penstock.ledger.settlement import Outcome, settle
from penstock.ledger.state import State
from penstock.ledger.tables import attempts
from penstock.ledger.transitions import Death


def test_running_jobs_become_suspects_and_the_rest_is_released_without_blame(session: Session) -> None:
    """The shared memory tells which had started."""
    running, waiting, foreign = claimed(session), claimed(session), claimed(session, OTHER_TOKEN, OTHER_PROCESS)

    rescued = rescue_crashed(
        session, process_id=PROCESS, running=[running.id], death=Death.OWN_DOING, alone=False, how="SIGSEGV"
    )

    assert {job.job_id: (job.state, job.suspect) for job in rescued} == {
        running.id: ("available", True),
        waiting.id: ("available", False),
    }
    assert {(job.queue, job.type) for job in rescued} == {("demo", "demo.job")}
    assert row_of(session, running.id).attempts == 0
    assert state_of(session, foreign.id) == "executing"
    assert [due.message.id for due in select_due(session, queue="demo", limit=9)] == [waiting.id]
    assert _history(session) == [(running.id, "crash", "SIGSEGV", "the worker process died: SIGSEGV")]


def test_a_job_that_kills_its_process_alone_is_dead(session: Session) -> None:
    """By its own doing: at once, and an operator can find it."""
    job_id = _suspect(session)
    [rescued] = rescue_crashed(
        session, process_id=PROCESS, running=[job_id], death=Death.OWN_DOING, alone=True, how="SIGSEGV"
    )
    assert (rescued.state, rescued.job_id) == ("dead", job_id)
    row = row_of(session, job_id)
    assert (row.state, row.reason, row.attempts, row.crashes) == ("dead", "crash", 1, 1)
    [group] = group_dead(session)
    assert (group["reason"], group["fingerprint"]) == ("crash", "crash:SIGSEGV")
    assert "SIGSEGV" in group["error"]


def test_two_kills_alone_convict(session: Session) -> None:
    """The first may have been the OOM killer's mistake."""
    job_id = _suspect(session)
    for state, crashes in (("available", 1), ("dead", 2)):
        rescue_crashed(session, process_id=PROCESS, running=[job_id], death=Death.KILLED, alone=True, how="SIGKILL")
        row = row_of(session, job_id)
        assert (row.state, row.crashes, row.suspect) == (state, crashes, True)
        claim_due(session, queues=["demo"], limit=1, token=TOKEN, process_id=PROCESS, suspects=True)
    assert state_of(session, job_id) == "dead"


def test_a_suspect_that_comes_back_alive_is_none_any_more(session: Session) -> None:
    """Failing is not crashing."""
    job_id = _suspect(session)
    assert not has_suspects(session, ["demo"])
    settle(session, [Outcome(job_id, TOKEN, State.RETRYABLE)])
    assert not has_suspects(session, ["demo"])
    assert [due.message.id for due in select_due(session, queue="demo", limit=9)] == [job_id]


def test_a_job_that_may_not_start_twice_is_dead_once_it_had_started(session: Session) -> None:
    """Its outcome is unknown, and that is said; one that had not started is released."""
    started, unstarted = claimed(session, at_most_once=True), claimed(session, at_most_once=True)
    rescue_crashed(session, process_id=PROCESS, running=[started.id], death=Death.KILLED, alone=False, how="SIGKILL")
    row = row_of(session, started.id)
    assert (row.state, row.reason, row.attempts, row.suspect) == ("dead", "outcome_unknown", 0, False)
    assert row.finished_at is not None
    assert state_of(session, unstarted.id) == "available"


def test_a_stop_of_ours_blames_nobody(session: Session) -> None:
    """Interrupted at the end of the grace period."""
    running, once, unstarted = claimed(session), claimed(session, at_most_once=True), claimed(session)
    rescued = rescue_interrupted(session, process_id=PROCESS, running=[running.id, once.id])
    assert {job.job_id: (job.state, job.suspect) for job in rescued} == {
        running.id: ("available", False),
        once.id: ("dead", False),
        unstarted.id: ("available", False),
    }
    assert row_of(session, once.id).reason == "outcome_unknown"


def test_a_host_that_vanishes_blames_nobody_until_the_second_time(session: Session) -> None:
    """Each job counts a loss; from the second on it runs alone."""
    job_id = claimed(session).id
    for losses, suspect in ((1, False), (2, True)):
        [rescued] = rescue_lost(session, process_id=PROCESS)
        assert (rescued.state, rescued.suspect) == ("available", suspect)
        row = row_of(session, job_id)
        assert (row.losses, row.attempts, row.crashes) == (losses, 0, 0)
        claim_due(session, queues=["demo"], limit=1, token=TOKEN, process_id=PROCESS, suspects=suspect)
        assert state_of(session, job_id) == "executing"
    assert [kind for _, kind, _, _ in _history(session)] == ["lost", "lost"]


def test_a_lost_job_that_may_not_start_twice_is_dead(session: Session) -> None:
    """Nobody knows whether it had started."""
    job_id = claimed(session, at_most_once=True).id
    rescue_lost(session, process_id=PROCESS)
    row = row_of(session, job_id)
    assert (row.state, row.reason) == ("dead", "outcome_unknown")
    [group] = group_dead(session)
    assert "vanished" in group["error"]


def test_what_a_lost_process_had_not_started_is_merely_released(session: Session) -> None:
    """Its shared memory is left, and says so: no loss, and nothing unknown."""
    running, waiting = claimed(session), claimed(session)
    once_running, once_waiting = claimed(session, at_most_once=True), claimed(session, at_most_once=True)
    other = claimed(session, OTHER_TOKEN, OTHER_PROCESS)
    freed = rescue_lost(session, process_id=PROCESS, running=[running.id, once_running.id, other.id])
    states = {job.job_id: job.state for job in freed}
    assert states == {
        running.id: "available",
        waiting.id: "available",
        once_running.id: "dead",
        once_waiting.id: "available",
    }
    losses = {claim.id: row_of(session, claim.id).losses for claim in (running, waiting, once_running, once_waiting)}
    assert losses == {running.id: 1, waiting.id: 0, once_running.id: 0, once_waiting.id: 0}
    assert state_of(session, other.id) == "executing"


def test_a_rescued_job_that_somebody_wants_cancelled_is_cancelled(session: Session) -> None:
    """By every way back."""
    crashed, unstarted, lost = claimed(session), claimed(session), claimed(session, OTHER_TOKEN, OTHER_PROCESS)
    for claim in (crashed, unstarted, lost):
        jobs.cancel_job(session, claim.id, actor="ada")
    rescue_crashed(session, process_id=PROCESS, running=[crashed.id], death=Death.KILLED, alone=False, how="SIGKILL")
    rescue_lost(session, process_id=OTHER_PROCESS)
    for claim in (crashed, unstarted, lost):
        row = row_of(session, claim.id)
        assert (row.state, row.reason) == ("cancelled", "cancelled")
        assert row.finished_at is not None


def test_whoever_was_rescued_is_fenced(session: Session) -> None:
    """A paused process that comes back settles nothing."""
    claim = claimed(session)
    rescue_lost(session, process_id=PROCESS)
    assert settle(session, [Outcome(claim.id, TOKEN, State.COMPLETED)]) == {claim.id}
    assert state_of(session, claim.id) == "available"


def test_rescuing_twice_finds_nothing_the_second_time(session: Session) -> None:
    """Two rescuers may see the same death."""
    claim = claimed(session)
    assert len(rescue_lost(session, process_id=PROCESS)) == 1
    assert rescue_lost(session, process_id=PROCESS) == []
    crashed = rescue_crashed(
        session, process_id=PROCESS, running=[claim.id], death=Death.KILLED, alone=True, how="SIGKILL"
    )
    assert crashed == []
    assert len(_history(session)) == 1


def test_a_running_job_that_the_process_does_not_hold_any_more_is_left_alone(session: Session) -> None:
    """Its shared memory is older than the ledger."""
    claim = claimed(session, OTHER_TOKEN, OTHER_PROCESS)
    rescued = rescue_crashed(
        session, process_id=PROCESS, running=[claim.id], death=Death.OWN_DOING, alone=True, how="SIGSEGV"
    )
    assert rescued == []
    assert state_of(session, claim.id) == "executing"


def test_a_process_can_compare_what_it_holds_with_the_ledger(session: Session) -> None:
    """A claim whose reply was lost is found by its token."""
    claim = claimed(session)
    claimed(session, OTHER_TOKEN, OTHER_PROCESS)
    settled = claimed(session)
    settle(session, [Outcome(settled.id, TOKEN, State.COMPLETED)])
    assert executing_under(session, PROCESS) == [(claim.id, TOKEN)]


def _suspect(session: Session) -> str:
    """A suspect that runs in the suspect lane."""
    job_id = accepted(session)
    change(session, job_id, suspect=True)
    [claim] = claim_due(session, queues=["demo"], limit=1, token=TOKEN, process_id=PROCESS, suspects=True)
    assert claim.id == job_id
    return job_id


def _history(session: Session) -> list[tuple[str, str, str, str]]:
    found = session.connection.execute(select(attempts).order_by(attempts.c.id))
    return [(row.job_id, row.kind, row.error_class, row.message) for row in found]
