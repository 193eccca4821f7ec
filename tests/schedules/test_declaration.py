"""`@every`, and how a registry finds what it stands above."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from tests.schedules.jobs import Report, declared, module_with

from penstock.schemas import ContractError, Job, Sensitive
from penstock.workers import PenstockBroker, Registry, every


@every("0 7 * * *", timezone="Europe/Warsaw")
@every("0 19 * * *", timezone="Europe/Warsaw", name="evening")
class Greeting(Job, type="demo.greeting"):
    """A job that needs nothing to be made."""

    name: str = "all"


@every("*/10 * * * *", tick_field="at", missed="all", missed_max=7)
def sales_report() -> Report:
    """A function that makes the job."""
    return Report(subject="sales")


def collected(*modules: ModuleType) -> Registry:
    """A registry with what these modules have."""
    registry = Registry(PenstockBroker())
    for module in modules:
        registry.collect(module)
    return registry


def test_jobs_and_functions_are_collected_by_module() -> None:
    """Each with a name, the job as it is now, and its timing; in a second module it is not a second schedule."""
    first, second = module_with(Greeting=Greeting, sales_report=sales_report), ModuleType("app.more")
    vars(second)["Greeting"] = Greeting
    found = {it.name: it for it in collected(first, second).schedules["app.jobs"]}
    assert found.keys() == {"demo.greeting", "evening", "tests.schedules.test_declaration.sales_report"}
    assert found["demo.greeting"].timing.timezone == "Europe/Warsaw"
    assert found["evening"].job == Greeting()
    report = found["tests.schedules.test_declaration.sales_report"]
    assert (report.job, report.tick_field) == (Report(subject="sales"), "at")
    assert report.timing.columns() == {"cron": "*/10 * * * *", "timezone": "UTC", "missed": "all", "missed_max": 7}
    assert sales_report() == Report(subject="sales")


def test_a_subclass_does_not_inherit_the_schedule() -> None:
    """It would fire twice under one name."""

    class Child(Greeting, type="demo.child"):
        pass

    assert collected(module_with(Child=Child)).schedules == {"app.jobs": []}


def _returns_nothing() -> Any:
    return None


class _Needy(Job, type="demo.needy"):
    n: int


class _Counted(Job, type="demo.counted"):
    n: int = 1


class _Secret(Job, type="demo.secret"):
    card: Sensitive[str] = Sensitive("4711")


BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "cron": (lambda: every("0 25 * * *"), "no cron expression"),
    "zone": (lambda: every("0 7 * * *", timezone="Mars"), "no time zone"),
    "policy": (lambda: every("0 7 * * *", missed="perhaps"), "no policy"),  # type: ignore[arg-type]
    "bound": (lambda: every("0 7 * * *", missed_max=0), "between 1 and"),
    "target": (lambda: every("0 7 * * *")(7), "must stand above"),  # type: ignore[type-var]
    "fields": (
        lambda: collected(module_with(a=every("0 7 * * *")(_Needy))),  # type: ignore[type-var]
        "give every field a default",
    ),
    "time": (
        lambda: collected(module_with(a=every("0 7 * * *", tick_field="n")(_Counted))),
        "takes no time.*field 'n': Input",
    ),
    "secret": (
        lambda: collected(module_with(a=every("0 7 * * *", tick_field="card")(_Secret))),
        "a time is no secret",
    ),
    "nothing": (lambda: collected(module_with(a=every("0 7 * * *", name="a")(_returns_nothing))), "must return a job"),
    "field": (lambda: collected(module_with(a=declared(tick_field="when"))), "no field of Report"),
    "twice": (lambda: collected(module_with(a=declared(), b=declared())), "two schedules have the name"),
    "name": (lambda: collected(module_with(a=declared(name="a b"))), "is not a name"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_declared_wrongly_is_found_when_the_worker_starts(case: str) -> None:
    """With what to do."""
    declare, said = BAD[case]
    with pytest.raises(ContractError, match=said):
        declare()
