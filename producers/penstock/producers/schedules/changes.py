"""What operators change of a schedule while everything runs; each change is in the audit."""

import json

from penstock.ledger.audit import record
from penstock.ledger.database import Session, retry_serialization
from penstock.ledger.schedules import Schedule, change_schedule, find_schedule, lock_schedule
from penstock.producers.schedules.declaration import Timing
from penstock.producers.schedules.declaring import next_after


@retry_serialization
def pause(session: Session, name: str, *, actor: str) -> Schedule | None:
    """Its ticks fire no more; None if there is no such schedule."""
    with session.transaction():
        if lock_schedule(session, name) is None:
            return None
        record(session, actor=actor, action="pause schedule", target=name)
        change_schedule(session, name, paused=True)
        return find_schedule(session, name)


@retry_serialization
def resume(session: Session, name: str, *, actor: str) -> Schedule | None:
    """It goes on with the next tick from now; those of the pause were not missed."""
    with session.transaction():
        schedule = lock_schedule(session, name)
        if schedule is None:
            return None
        record(session, actor=actor, action="resume schedule", target=name)
        if schedule.paused:
            next_at = next_after(schedule, schedule.cron, schedule.timezone)
            change_schedule(session, name, paused=False, next_at=next_at)
        return find_schedule(session, name)


@retry_serialization
def set_timing(
    session: Session,
    name: str,
    *,
    actor: str,
    cron: str | None = None,
    timezone: str | None = None,
    missed: str | None = None,
    missed_max: int | None = None,
) -> Schedule | None:
    """Change when it fires; what is None stays. Raises `CronError`."""
    with session.transaction():
        schedule = lock_schedule(session, name)
        if schedule is None:
            return None
        timing = Timing(
            cron=cron or schedule.cron,
            timezone=timezone or schedule.timezone,
            missed=missed or schedule.missed,
            missed_max=missed_max or schedule.missed_max,
        )
        columns = timing.columns()
        record(session, actor=actor, action="set schedule", target=name, detail=json.dumps(columns))
        if (timing.cron, timing.timezone) != (schedule.cron, schedule.timezone):
            columns["next_at"] = next_after(schedule, timing.cron, timing.timezone)
        change_schedule(session, name, **columns)
        return find_schedule(session, name)
