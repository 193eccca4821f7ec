"""Schedules, for people and for programs."""

import dataclasses
import itertools
import json
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from penstock.console.exits import Failure, problem
from penstock.console.opening import opened_ledger
from penstock.console.printing import (
    briefly,
    print_facts,
    print_json,
    print_json_lines,
    print_line,
    print_table,
)
from penstock.console.settings import actor_of
from penstock.ledger.audit import record
from penstock.ledger.durations import ago
from penstock.ledger.schedules import Schedule, find_schedule, list_schedules
from penstock.producers.schedules.cron import Cron
from penstock.schemas.keyring import hide_sealed

NEXT_RUNS = 5
_HIDDEN = ("payload", "now", "declared", "key_type")


def list_all(*, as_json: bool) -> None:
    """One line for each."""
    with opened_ledger() as session:
        found = list_schedules(session)
    if as_json:
        print_json_lines(document_of(schedule) for schedule in found)
    elif not found:
        print_line(
            "there is no schedule: put @every above a job or a function that makes one, or `penstock schedules add`"
        )
    else:
        rows = [
            (
                it.name,
                f"{it.cron}  {it.timezone}",
                it.type,
                state_of(it),
                briefly(it.next_at, it.now) if it.is_active else "",
                briefly(it.last_fired_at, it.now),
            )
            for it in found
        ]
        print_table(("name", "when", "type", "state", "next", "last"), rows, keep=("when", "state", "next", "last"))


def show_one(name: str, *, with_payload: bool, actor: str | None, as_json: bool) -> None:
    """One schedule; a reveal of its payload is in the audit before it is shown."""
    who = actor_of(actor)
    with opened_ledger() as session:
        schedule = find_schedule(session, name)
        if schedule is None:
            raise unknown(name)
        if with_payload:
            record(session, actor=who, action="show payload", target=f"schedule {name}")
    payload = json.dumps(hide_sealed(json.loads(schedule.payload)), ensure_ascii=False) if with_payload else None
    if as_json:
        print_json(document_of(schedule) | ({} if payload is None else {"payload": payload}))
        return
    declared = json.loads(schedule.declared)
    changed = [f"{field}: {value}" for field, value in declared.items() if getattr(schedule, field) != value]
    print_facts(
        [
            ("name", schedule.name),
            ("state", state_of(schedule)),
            ("cron", schedule.cron),
            ("time zone", schedule.timezone),
            ("missed ticks", _missed_text(schedule)),
            ("in the code", ", ".join(changed)),
            ("job", f"{schedule.type} v{schedule.version}, queue {schedule.queue}"),
            ("module", schedule.module or "none: it was added at run time"),
            *(("next", tick_text(time, schedule)) for time in next_runs(schedule)),
            ("last tick", "" if schedule.last_tick is None else tick_text(schedule.last_tick, schedule)),
            ("last job", schedule.last_job_id or ""),
            ("payload", payload or f"{len(schedule.payload)} bytes, hidden (--payload shows it)"),
        ]
    )


def document_of(schedule: Schedule) -> dict[str, Any]:
    """What `--json` prints of a schedule."""
    fields = {
        field.name: getattr(schedule, field.name) for field in dataclasses.fields(schedule) if field.name not in _HIDDEN
    }
    return fields | {
        "module": schedule.module or None,
        "state": state_of(schedule),
        "declared": json.loads(schedule.declared),
        "next": next_runs(schedule),
    }


def state_of(schedule: Schedule) -> str:
    if schedule.removed_at is not None:
        return "not in the code"
    return "paused" if schedule.paused else "active"


def next_runs(schedule: Schedule) -> list[datetime]:
    """The next ticks from now on, if they will fire."""
    if not schedule.is_active or schedule.next_at is None:
        return []
    ticks = Cron(schedule.cron, schedule.timezone).ticks(schedule.now)
    overdue = [schedule.next_at] if schedule.is_due else []
    return overdue + list(itertools.islice(ticks, NEXT_RUNS))


def tick_text(tick: datetime, schedule: Schedule) -> str:
    """A tick by the clock that hangs where the schedule says, and how far away it is."""
    local = tick.astimezone(ZoneInfo(schedule.timezone))
    return f"{local:%a %Y-%m-%d %H:%M:%S %z} ({ago(tick, schedule.now)})"


def unknown(name: str) -> Failure:
    return problem(f"there is no schedule {name!r}: see `penstock schedules list`")


def _missed_text(schedule: Schedule) -> str:
    told = {
        "skip": "are skipped",
        "one": "become one job",
        "all": f"become a job each, at most the last {schedule.missed_max}",
    }
    return told[schedule.missed]
