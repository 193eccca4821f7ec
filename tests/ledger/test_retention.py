"""What has ended long enough ago leaves; nothing that waits, runs, is dead, or still holds a key does."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select
from tests.ledger.samples import (
    PROCESS,
    TOKEN,
    a_row,
    accepted,
    an_offer,
    change,
    claimed,
    count,
    deliver,
    expire_keys,
    put,
    state_of,
    waiting_offer,
)

from penstock.ledger import jobs, retention
from penstock.ledger.admission import Admitted, admit
from penstock.ledger.database import Session
from penstock.ledger.effects import intend
from penstock.ledger.retention import MEMORY, oldest_remembered_id, prune_jobs, prune_keys
from penstock.ledger.settlement import Failure, Outcome, settle
from penstock.ledger.state import State
from penstock.ledger.tables import aliases, attempts, dedup_keys, effects
from penstock.ledger.tables import jobs as jobs_table
from penstock.schemas.identifiers import job_id_time

LONG_AGO = datetime.now(UTC) - timedelta(days=40)


def test_the_key_of_a_cancelled_job_is_freed_also_under_the_name_that_its_type_had_before(session: Session) -> None:
    """It counts there, for the release that knows no other."""
    admit(session, [waiting_offer(id=_old_id(1), key="k", key_type="demo.before")])
    jobs.cancel_job(session, _old_id(1), actor="ada")
    change(session, _old_id(1), finished_at=LONG_AGO)
    assert prune_jobs(session) == 1
    assert count(session, dedup_keys) == 0


@pytest.mark.parametrize("state", list(State))
def test_only_what_completed_or_was_cancelled_is_forgotten(session: Session, state: State) -> None:
    """A dead letter stays until somebody replays or discards it."""
    old = put(session, id=_old_id(1), state=state, finished_at=LONG_AGO)
    fresh = put(session, state=state, finished_at=LONG_AGO)
    gone = state in (State.COMPLETED, State.CANCELLED)
    assert prune_jobs(session) == (1 if gone else 0)
    assert state_of(session, old) == ("unseen" if gone else state)
    assert state_of(session, fresh) == state


def test_an_old_job_that_ended_only_now_is_remembered(session: Session) -> None:
    """It was scheduled months ahead; what it did today must be visible tomorrow."""
    job_id = put(session, id=_old_id(1), state="completed", finished_at=datetime.now(UTC))
    assert prune_jobs(session) == 0
    assert state_of(session, job_id) == "completed"


def test_what_belongs_to_a_job_leaves_with_it(session: Session) -> None:
    """Failures, effects and aliases; those of others stay."""
    for job_id, finished_at in ((_old_id(1), LONG_AGO), (_old_id(2), datetime.now(UTC))):
        key = f"key of {job_id}"
        admit(session, [waiting_offer(id=job_id, key=key), waiting_offer(key=key)])
        deliver(session, an_offer(id=job_id, key=key))
        intend(session, job_id=job_id, token=TOKEN, step="mail", key="k")
        settle(session, [Outcome(job_id, TOKEN, State.COMPLETED, result=b"1", failure=Failure("failed"))])
        change(session, job_id, finished_at=finished_at)
    assert [count(session, table) for table in (jobs_table, attempts, effects, aliases)] == [2, 2, 2, 2]
    assert prune_jobs(session) == 1
    assert [count(session, table) for table in (jobs_table, attempts, effects, aliases)] == [1, 1, 1, 1]


def test_batches_are_bounded(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cheap ones, again and again, the oldest first."""
    monkeypatch.setattr(retention, "PRUNE_BATCH_JOBS", 3)
    ids = [_old_id(n) for n in range(7)]
    rows = [a_row(id=job_id, state="completed", finished_at=LONG_AGO) for job_id in ids]
    session.connection.execute(insert(jobs_table), rows)
    assert [prune_jobs(session) for _ in range(4)] == [3, 3, 1, 0]


def test_a_backlog_of_what_may_leave_is_pruned_batch_by_batch(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As far as the time allows, jobs and keys alike: keys do not wait until the last old job is gone."""
    monkeypatch.setattr(retention, "PRUNE_BATCH_JOBS", 2)
    for number in range(1, 8):
        put(session, id=_old_id(number), state=State.COMPLETED, finished_at=LONG_AGO)
        key = {"type": "demo.job", "key": f"k{number}", "job_id": _old_id(number), "payload_hash": ""}
        session.connection.execute(insert(dedup_keys).values(**key, expires_at=LONG_AGO))
    assert retention.prune(session, seconds=0)
    assert (count(session, jobs_table), count(session, dedup_keys)) == (5, 5)
    assert not retention.prune(session, seconds=60)
    assert (count(session, jobs_table), count(session, dedup_keys)) == (0, 0)


def test_a_key_leaves_when_it_has_expired_and_its_job_has_ended(session: Session) -> None:
    """The same rule by which a publish finds it free."""
    ends: dict[str, Any] = {}
    for state in State:
        ends[state] = claimed(session, key=state).id
        change(session, ends[state], state=state)
    assert prune_keys(session) == 0
    expire_keys(session)
    assert prune_keys(session) == 3
    left = set(session.connection.execute(select(dedup_keys.c.key)).scalars())
    assert left == {"scheduled", "available", "executing", "retryable"}


def test_a_key_of_a_cancelled_job_leaves_with_the_job(session: Session) -> None:
    """Its key was free while its row was there to say so; afterwards it would absorb a publish and run nothing."""
    cancelled, completed = (waiting_offer(id=_old_id(n), key=f"k{n}", unique_for=timedelta(days=90)) for n in (1, 2))
    admit(session, [cancelled, completed])
    jobs.cancel_job(session, cancelled.message.id, actor="ada")
    change(session, cancelled.message.id, finished_at=LONG_AGO)
    change(session, completed.message.id, state="completed", finished_at=LONG_AGO)
    assert prune_jobs(session) == 2

    again, duplicate = an_offer(key="k1"), an_offer(key="k2")
    outcomes = deliver(session, again, duplicate).outcomes

    assert outcomes == {again.message.id: Admitted.CLAIMED, duplicate.message.id: Admitted.DUPLICATE}


def test_a_key_that_a_later_job_took_over_stays_with_it(session: Session) -> None:
    """Only the cancelled job itself loses its key."""
    old = waiting_offer(id=_old_id(1), key="k")
    admit(session, [old])
    jobs.cancel_job(session, old.message.id, actor="ada")
    change(session, old.message.id, finished_at=LONG_AGO)
    again = an_offer(key="k")
    deliver(session, again)
    assert prune_jobs(session) == 1
    assert deliver(session, an_offer(key="k")).first
    assert count(session, dedup_keys) == 1


def test_the_oldest_remembered_id_divides_the_ids_in_time() -> None:
    """To the millisecond, by the clock of their makers."""
    moment = datetime(2026, 3, 1, 12, 0, 0, 123_000, tzinfo=UTC)
    floor = oldest_remembered_id(moment)
    assert job_id_time(floor) == moment
    assert floor < oldest_remembered_id(moment + timedelta(milliseconds=1))
    assert _old_id(1) < oldest_remembered_id(datetime.now(UTC) - MEMORY) < accepted_id()


def accepted_id() -> str:
    return waiting_offer().message.id


def test_a_process_that_runs_is_not_disturbed(session: Session) -> None:
    """A job may run and wait for longer than the memory lasts."""
    running = deliver(session, an_offer(id=_old_id(1)), process_id=PROCESS).claims
    waiting = accepted(session, id=_old_id(2))
    assert prune_jobs(session) == 0
    assert (state_of(session, running[0].id), state_of(session, waiting)) == ("executing", "available")


def _old_id(number: int) -> str:
    return f"{oldest_remembered_id(LONG_AGO)[:-12]}{number:012x}"
