"""Jobs that come by the clock, and how the tests declare them."""

from datetime import datetime
from types import ModuleType
from typing import Any

from penstock.ledger.database import Session
from penstock.ledger.schedules import Schedule, find_schedule
from penstock.producers.schedules import every
from penstock.producers.schedules.declaration import declarations_of
from penstock.producers.schedules.declaring import declare
from penstock.schemas import Job

NAME = "reports.daily"
MODULE = "app.jobs"


class Report(Job, type="demo.report", queue="reports"):
    """The job; `at` gets the time of its tick where a schedule says so."""

    subject: str = "sales"
    at: datetime | None = None


def declared(cron: str = "0 * * * *", *, name: str = NAME, subject: str = "sales", **options: Any) -> Any:
    """A function with a schedule, as a module has it."""

    def make() -> Report:
        return Report(subject=subject)

    return every(cron, name=name, **options)(make)


def start(session: Session, *targets: Any, module: str = MODULE) -> list[str]:
    """What a worker does with its modules when it starts."""
    found = [declaration for target in targets for declaration in declarations_of(target)]
    return [said.text for said in declare(session, {module: found})]


def schedule_of(session: Session, name: str = NAME) -> Schedule:
    """The row."""
    found = find_schedule(session, name)
    assert found is not None
    return found


def module_with(**values: Any) -> ModuleType:
    """A module with these names in it."""
    module = ModuleType("app.jobs")
    vars(module).update(values)
    return module
