"""Changes to one schedule, each in the audit."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from penstock.console.exits import bad_input, problem
from penstock.console.opening import opened_ledger
from penstock.console.printing import print_json, print_line
from penstock.console.schedule_pages import document_of, next_runs, tick_text, unknown
from penstock.console.schedule_templates import Order, template_of
from penstock.console.settings import ConsoleSettings, actor_of, keyring_of
from penstock.ledger.schedules import Schedule, find_schedule
from penstock.producers.schedules.changes import add, pause, remove, resume, set_template, set_timing
from penstock.producers.schedules.declaration import Timing
from penstock.producers.schedules.firing import run_now
from penstock.producers.schedules.template import Template
from penstock.schemas.contract import check_name


def pause_one(name: str, *, actor: str | None, as_json: bool) -> None:
    """Pausing twice is pausing once."""
    with opened_ledger() as session:
        schedule = pause(session, name, actor=actor_of(actor))
    report(name, schedule, "is paused", as_json=as_json)


def resume_one(name: str, *, actor: str | None, as_json: bool) -> None:
    """One that was not paused goes on as before."""
    with opened_ledger() as session:
        schedule = resume(session, name, actor=actor_of(actor))
    report(name, schedule, "goes on", as_json=as_json)


def run_one(name: str, *, actor: str | None, as_json: bool) -> None:
    """Twice makes two jobs."""
    with opened_ledger() as session:
        if find_schedule(session, name) is None:
            raise unknown(name)
        job_id = run_now(session, name, actor=actor_of(actor), keyring=keyring_of(ConsoleSettings().keyring))
    if as_json:
        print_json({"name": name, "job_id": job_id})
    else:
        print_line(f"job {job_id} is due now")


def add_one(name: str, order: Order, timing: Timing, *, actor: str | None, as_json: bool) -> None:
    """Add one that no code declares."""
    check_name("schedule", name)
    template = template_of(name, order)
    with opened_ledger() as session:
        schedule = add(session, name, timing=timing, template=template, actor=actor_of(actor))
    report(name, schedule, "is added", as_json=as_json)


def set_one(
    name: str,
    timing: dict[str, Any],
    *,
    payload: str | None,
    modules: tuple[str, ...],
    actor: str | None,
    as_json: bool,
) -> None:
    """Change when it runs and, of one that no code declares, with what."""
    given = {option: value for option, value in timing.items() if value is not None}
    if not given and payload is None:
        raise bad_input("nothing to set: give --cron, --timezone, --missed, --missed-max or --payload")
    who = actor_of(actor)
    with opened_ledger() as session:
        schedule = find_schedule(session, name)
        if schedule is not None and given:
            schedule = set_timing(session, name, actor=who, **given)
        if schedule is not None and payload is not None:
            template = _with_payload(schedule, payload, modules)
            schedule = set_template(session, name, template, actor=who)
    report(name, schedule, "is changed", as_json=as_json)


def remove_one(name: str, *, actor: str | None, as_json: bool) -> None:
    """Forget one that no code declares; its jobs go on."""
    with opened_ledger() as session:
        if not remove(session, name, actor=actor_of(actor)):
            raise unknown(name)
    if as_json:
        print_json({"name": name, "removed": True})
    else:
        print_line(f"schedule {name} is removed; its jobs go on")


def _with_payload(schedule: Schedule, payload: str, modules: tuple[str, ...]) -> Template:
    """With `--jobs` the contract is looked up again; without, all but the payload stays as it is."""
    order = Order(type=schedule.type, payload=payload, tick_field=schedule.tick_field, modules=modules)
    if modules:
        return template_of(schedule.name, order)
    known = replace(order, version=schedule.version, queue=schedule.queue)
    return replace(
        template_of(schedule.name, known),
        at_most_once=schedule.at_most_once,
        unique_for=timedelta(seconds=schedule.unique_seconds),
        key_type=schedule.key_type,
    )


def report(name: str, schedule: Schedule | None, said: str, *, as_json: bool) -> None:
    if schedule is None:
        raise unknown(name)
    if as_json:
        print_json(document_of(schedule))
        return
    if schedule.removed_at is not None:
        raise problem(f"schedule {name} {said}, but it is not in the code any more and does not fire")
    runs = next_runs(schedule)
    print_line(f"schedule {name} {said}" + (f"; next: {tick_text(runs[0], schedule)}" if runs else ""))
