"""Changes to one schedule, each in the audit."""

from penstock.console.exits import bad_input, problem
from penstock.console.opening import opened_ledger
from penstock.console.printing import moment, print_json, print_line
from penstock.console.schedule_pages import document_of, next_runs, unknown
from penstock.console.settings import actor_of
from penstock.ledger.schedules import Schedule, find_schedule
from penstock.producers.schedules.changes import pause, resume, set_timing
from penstock.producers.schedules.firing import run_now


def pause_one(name: str, *, actor: str | None, as_json: bool) -> None:
    """Pausing twice is pausing once."""
    with opened_ledger() as session:
        schedule = pause(session, name, actor=actor_of(actor))
    _report(name, schedule, "is paused", as_json=as_json)


def resume_one(name: str, *, actor: str | None, as_json: bool) -> None:
    """One that was not paused goes on as before."""
    with opened_ledger() as session:
        schedule = resume(session, name, actor=actor_of(actor))
    _report(name, schedule, "goes on", as_json=as_json)


def run_one(name: str, *, actor: str | None, as_json: bool) -> None:
    """Twice makes two jobs."""
    with opened_ledger() as session:
        if find_schedule(session, name) is None:
            raise unknown(name)
        job_id = run_now(session, name, actor=actor_of(actor))
    if as_json:
        print_json({"name": name, "job_id": job_id})
    else:
        print_line(f"job {job_id} is due now")


def set_one(
    name: str,
    *,
    cron: str | None,
    timezone: str | None,
    missed: str | None,
    missed_max: int | None,
    actor: str | None,
    as_json: bool,
) -> None:
    """Change the timing."""
    if (cron, timezone, missed, missed_max) == (None, None, None, None):
        raise bad_input("nothing to set: give --cron, --timezone, --missed or --missed-max")
    with opened_ledger() as session:
        schedule = set_timing(
            session,
            name,
            cron=cron,
            timezone=timezone,
            missed=missed,
            missed_max=missed_max,
            actor=actor_of(actor),
        )
    _report(name, schedule, "is changed", as_json=as_json)


def _report(name: str, schedule: Schedule | None, said: str, *, as_json: bool) -> None:
    if schedule is None:
        raise unknown(name)
    if as_json:
        print_json(document_of(schedule))
        return
    if schedule.removed_at is not None:
        raise problem(f"schedule {name} {said}, but it is not in the code any more and does not fire")
    runs = next_runs(schedule)
    print_line(f"schedule {name} {said}" + (f"; next: {moment(runs[0], schedule.now)}" if runs else ""))
