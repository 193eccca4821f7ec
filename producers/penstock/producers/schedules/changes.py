"""What operators do to schedules while everything runs; each change is in the audit."""

import json

from penstock.ledger.audit import record
from penstock.ledger.database import Session, retry_serialization
from penstock.ledger.schedules import (
    AT_RUN_TIME,
    Schedule,
    add_schedule,
    change_schedule,
    delete_schedule,
    find_schedule,
    lock_schedule,
)
from penstock.producers.schedules.declaration import Timing
from penstock.producers.schedules.declaring import next_after
from penstock.producers.schedules.template import Template


class ScheduleRefused(ValueError):
    """A change that would be undone by the code, or undo it; the text says whose the schedule is, and the remedy."""


@retry_serialization
def add(session: Session, name: str, *, timing: Timing, template: Template, actor: str) -> Schedule:
    """Add a schedule that no code declares; raises `ScheduleRefused` for a name that is taken."""
    with session.transaction():
        columns = template.columns() | timing.columns()
        if not add_schedule(session, name, module=AT_RUN_TIME, declared="{}", **columns):
            raise ScheduleRefused(_taken(name, find_schedule(session, name)))
        detail = json.dumps({"type": template.type, **timing.columns()})
        record(session, actor=actor, action="add schedule", target=name, detail=detail)
        added = _required(lock_schedule(session, name))
        change_schedule(session, name, next_at=next_after(added, timing.cron, timing.timezone))
        return _required(find_schedule(session, name))


@retry_serialization
def remove(session: Session, name: str, *, actor: str) -> bool:
    """Forget a schedule that no code declares (any more); its jobs stay. False if there is none of this name.

    Raises `ScheduleRefused` for one of the code, which would be back with the next worker.
    """
    with session.transaction():
        schedule = lock_schedule(session, name)
        if schedule is None:
            return False
        if schedule.is_declared and schedule.removed_at is None:
            raise ScheduleRefused(
                f"schedule {name} is declared in module {schedule.module}, and would be back with the next worker: "
                f"take its @every away there, or `penstock schedules pause {name}`"
            )
        detail = json.dumps({"type": schedule.type, "cron": schedule.cron, "timezone": schedule.timezone})
        record(session, actor=actor, action="remove schedule", target=name, detail=detail)
        delete_schedule(session, name)
        return True


@retry_serialization
def set_template(session: Session, name: str, template: Template, *, actor: str) -> Schedule | None:
    """Change what it runs; None if there is no such schedule. Raises `ScheduleRefused` for one of the code."""
    with session.transaction():
        schedule = lock_schedule(session, name)
        if schedule is None:
            return None
        if schedule.is_declared:
            raise ScheduleRefused(
                f"schedule {name} is declared in module {schedule.module}: its payload is the code's; change it there, "
                "or add one of your own"
            )
        record(session, actor=actor, action="set payload", target=f"schedule {name}")
        change_schedule(session, name, **template.columns())
        return find_schedule(session, name)


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


def _taken(name: str, by: Schedule | None) -> str:
    if by is None or not by.is_declared:
        return f"there is a schedule {name} already: change it with `penstock schedules set {name}`, or remove it first"
    if by.removed_at is not None:
        return f"module {by.module} has declared a schedule {name} once: `penstock schedules remove {name}` forgets it"
    return f"schedule {name} is declared in module {by.module}: give yours another name"


def _required(schedule: Schedule | None) -> Schedule:
    if schedule is None:
        raise LookupError("the row was written in this transaction")
    return schedule
