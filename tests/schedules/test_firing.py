"""One tick is one job: whoever looks, whenever he looks, and however often the code changes."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update
from tests.ledger.crowd import each_at_once
from tests.schedules.jobs import NAME, declared, schedule_of, start
from tests.waiting import until

from penstock.ledger.audit import list_audit
from penstock.ledger.clock import now
from penstock.ledger.database import Ledger, Session
from penstock.ledger.schedules import change_schedule, due_schedules
from penstock.ledger.tables import dedup_keys, jobs, schedules
from penstock.producers.schedules.changes import pause, resume, set_timing
from penstock.producers.schedules.cron import CronError
from penstock.producers.schedules.firing import Fired, fire, run_now

HOUR = timedelta(hours=1)


def time_of(session: Session) -> datetime:
    """The database's time."""
    time: datetime = session.connection.execute(select(now(session.dialect))).scalar_one()
    return time


def missed_since(session: Session, hours: float, *, name: str = NAME) -> datetime:
    """Let nobody have been there for so long; returns the first tick that was missed."""
    first = (time_of(session) - timedelta(hours=hours)).replace(minute=0, second=0, microsecond=0)
    change_schedule(session, name, next_at=first)
    return first


def rows(session: Session) -> list[Any]:
    """The jobs in the ledger, the longest due first."""
    return list(session.connection.execute(select(jobs).order_by(jobs.c.due_at)).all())


def fired(session: Session) -> Fired:
    """What fires now."""
    [name] = due_schedules(session)
    found = fire(session, name)
    assert found is not None
    return found


def test_a_tick_becomes_a_job_that_is_due_at_the_tick(session: Session) -> None:
    """And the schedule waits for the next one."""
    until(lambda: time_of(session).second < 55, what="a minute that does not end meanwhile")
    start(session, declared("* * * * *"))
    assert due_schedules(session) == []
    tick = time_of(session).replace(second=0, microsecond=0)
    change_schedule(session, NAME, next_at=tick)
    found = fired(session)
    [row] = rows(session)
    assert (found.ticks, found.job_ids, found.is_late) == ([tick], [row.id], False)
    assert (row.type, row.queue, row.state, row.due_at) == ("demo.report", "reports", "available", tick)
    assert json.loads(row.payload) == {"subject": "sales", "at": None}
    assert row.dedup_key == f"{NAME}@{tick:%Y-%m-%dT%H:%M:%SZ}"
    after = schedule_of(session)
    assert (after.last_tick, after.last_job_id) == (tick, row.id)
    assert after.next_at is not None
    assert after.next_at > after.now
    assert fire(session, NAME) is None


def test_ten_schedulers_that_race_make_one_job(ledger: Ledger, session: Session) -> None:
    """Tick after tick."""
    start(session, declared())
    for _ in range(5):
        missed_since(session, 0)
        found = each_at_once(ledger, lambda it, _: fire(it, NAME), range(10))
        assert len([it for it in found if it is not None]) <= 1
        # The same hour again: only the dedup key stands in the way now.
    assert len(rows(session)) == 1


def test_a_job_and_the_advance_of_its_schedule_commit_together(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash in between leaves neither, and the tick fires when somebody comes back."""
    start(session, declared())
    first = missed_since(session, 0)

    def crash(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr("penstock.producers.schedules.firing.change_schedule", crash)
        with pytest.raises(ZeroDivisionError):
            fire(session, NAME)
    assert rows(session) == []
    assert fired(session).ticks == [first]
    assert len(rows(session)) == 1


@pytest.mark.parametrize(("missed", "missed_max", "jobs_made"), [("one", 100, 1), ("all", 100, 6), ("all", 2, 2)])
def test_after_hours_without_a_scheduler(session: Session, missed: str, missed_max: int, jobs_made: int) -> None:
    """One job for the last of the ticks, or one for each, the newest if there are too many."""
    start(session, declared(missed=missed, missed_max=missed_max, tick_field="at"))
    first = missed_since(session, 5)
    found = fired(session)
    assert found.is_late
    assert found.ticks == [first + n * HOUR for n in range(6)][-jobs_made:]
    assert [datetime.fromisoformat(json.loads(row.payload)["at"]) for row in rows(session)] == found.ticks
    assert fire(session, NAME) is None


def test_skipped_ticks_make_no_job(session: Session) -> None:
    """The schedule goes on with the next one."""
    start(session, declared("0 0 1 1 *", missed="skip"))
    change_schedule(session, NAME, next_at=datetime(2020, 1, 1, tzinfo=UTC))
    assert fired(session).ticks == []
    assert rows(session) == []
    after = schedule_of(session)
    assert after.next_at is not None
    assert after.next_at > after.now


def test_a_pause_is_not_made_up_for(session: Session) -> None:
    """What falls into it is nobody's fault."""
    start(session, declared(missed="all"))
    pause(session, NAME, actor="ann")
    missed_since(session, 3)
    assert due_schedules(session) == []
    assert fire(session, NAME) is None
    resumed = resume(session, NAME, actor="ann")
    assert resumed is not None
    assert resumed.next_at is not None
    assert resumed.next_at > resumed.now
    assert [row["action"] for row in list_audit(session)] == ["resume schedule", "pause schedule"]


def test_run_now_is_a_job_beside_the_ticks(session: Session) -> None:
    """Twice are two, and the next tick stays what it was."""
    start(session, declared())
    before = schedule_of(session).next_at
    ids = {run_now(session, NAME, actor="ann"), run_now(session, NAME, actor="ann")}
    assert {row.id for row in rows(session)} == ids
    assert schedule_of(session).next_at == before
    assert run_now(session, "nobody", actor="ann") is None
    assert session.connection.execute(select(dedup_keys)).all() == []


def test_a_changed_cron_counts_from_now_on(session: Session) -> None:
    """Without a job for what the new text would have meant before."""
    start(session, declared("0 0 1 1 *"))
    changed = set_timing(session, NAME, actor="ann", cron="*/5 * * * *", timezone="Europe/Warsaw")
    assert changed is not None
    assert changed.next_at is not None
    assert changed.now < changed.next_at <= changed.now + timedelta(minutes=5)
    with pytest.raises(CronError, match="no time zone"):
        set_timing(session, NAME, actor="ann", timezone="Mars/Crater")
    assert set_timing(session, "nobody", actor="ann", cron="* * * * *") is None


def test_what_was_changed_at_run_time_stays_until_the_code_changes(session: Session) -> None:
    """A restart of the same release is no reason; a new payload comes with it all the same."""
    start(session, declared("0 0 1 1 *"))
    set_timing(session, NAME, actor="ann", cron="*/5 * * * *")
    assert start(session, declared("0 0 1 1 *", subject="returns")) == []
    assert schedule_of(session).cron == "*/5 * * * *"
    assert b"returns" in schedule_of(session).payload
    assert start(session, declared("0 1 * * *", subject="returns")) == [f"{NAME}: has changed in the code"]
    assert schedule_of(session).cron == "0 1 * * *"


def test_a_schedule_that_is_gone_from_the_code_fires_no_more(session: Session) -> None:
    """It is there to be seen, and goes on when it comes back; other modules' are left alone."""
    start(session, declared(missed="all"))
    start(session, declared(name="other"), module="other.jobs")
    assert start(session) == [f"{NAME}: is not in the code any more, and fires no more"]
    missed_since(session, 3)
    assert due_schedules(session) == []
    assert schedule_of(session, "other").removed_at is None
    assert start(session, declared(missed="all")) == [f"{NAME}: is back in the code"]
    after = schedule_of(session)
    assert after.is_active
    assert after.next_at is not None
    assert after.next_at > after.now


def test_a_restart_does_not_lose_the_tick_that_came_meanwhile(session: Session) -> None:
    """A deploy at seven o'clock still has its job of seven o'clock."""
    start(session, declared())
    first = missed_since(session, 0)
    start(session, declared(subject="returns"))
    assert fired(session).ticks == [first]


def test_a_change_that_waited_for_a_tick_does_not_fire_it_again(session: Session) -> None:
    """Its transaction began before the tick, by a clock that stands still in it."""
    start(session, declared())
    ahead = time_of(session) + timedelta(minutes=30)
    session.connection.execute(update(schedules).values(last_tick=ahead))
    changed = set_timing(session, NAME, actor="ann", cron="* * * * *")
    assert changed is not None
    assert changed.next_at is not None
    assert changed.next_at > ahead


def test_many_workers_that_start_at_once_declare_once(ledger: Ledger, session: Session) -> None:
    """Each brings the same."""
    said = each_at_once(ledger, lambda it, _: start(it, declared()), range(6))
    assert sum(len(lines) for lines in said) == 1
    assert schedule_of(session).next_at is not None
