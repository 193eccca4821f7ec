"""`penstock schedules`: jobs that come by the clock."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs, so that `penstock --help` is quick

from typing import Annotated, Literal

import typer

from penstock.console.options import Actor, Json, Modules, Payload

app = typer.Typer(name="schedules", help="See, add, pause and change what comes by the clock.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]
Missed = Literal["skip", "one", "all"]
CRON = typer.Option("--cron", metavar="TEXT", help="Five fields, like '0 7 * * *'.")
TIMEZONE = typer.Option("--timezone", metavar="ZONE", help="Where the clock hangs, like Europe/Warsaw.")
MISSED = typer.Option("--missed", help="What becomes of missed ticks.")
MISSED_MAX = typer.Option("--missed-max", metavar="N", min=1, max=10_000, help="At most so many with `all`.")
PAYLOAD = typer.Option("--payload", metavar="JSON", help="The payload, a JSON object; - reads stdin.")


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List all schedules with their next and their last run."""
    from penstock.console.schedule_pages import list_all

    list_all(as_json=as_json)


@app.command()
def show(name: Name, payload: Payload = False, actor: Actor = None, as_json: Json = False) -> None:
    """Show one schedule with its next runs."""
    from penstock.console.schedule_pages import show_one

    show_one(name, with_payload=payload, actor=actor, as_json=as_json)


@app.command()
def add(
    *,
    name: Name,
    job_type: Annotated[str, typer.Option("--type", metavar="TYPE", help="The job type, like orders.ship.")],
    cron: Annotated[str, CRON],
    payload: Annotated[str, PAYLOAD] = "{}",
    timezone: Annotated[str, TIMEZONE] = "UTC",
    missed: Annotated[Missed, MISSED] = "one",
    missed_max: Annotated[int, MISSED_MAX] = 100,
    tick_field: Annotated[
        str | None, typer.Option("--tick-field", metavar="FIELD", help="A field that gets the time of the tick.")
    ] = None,
    modules: Modules = None,
    version: Annotated[
        int | None, typer.Option("--version", min=1, help="The contract's version; default: 1, or the newest.")
    ] = None,
    queue: Annotated[str | None, typer.Option("--queue", help="The queue; needed without --jobs.")] = None,
    actor: Actor = None,
    as_json: Json = False,
) -> None:
    """Add a schedule that no code declares. With --jobs its payload is held against the contract first."""
    from penstock.console.schedule_changes import add_one
    from penstock.console.schedule_templates import Order
    from penstock.producers.schedules.declaration import Timing

    order = Order(
        type=job_type,
        payload=payload,
        tick_field=tick_field,
        version=version,
        modules=tuple(modules or ()),
        queue=queue,
    )
    timing = Timing(cron=cron, timezone=timezone, missed=missed, missed_max=missed_max)
    add_one(name, order, timing, actor=actor, as_json=as_json)


@app.command()
def remove(name: Name, actor: Actor = None, as_json: Json = False) -> None:
    """Forget a schedule that no code declares. The jobs that it has made go on."""
    from penstock.console.schedule_changes import remove_one

    remove_one(name, actor=actor, as_json=as_json)


@app.command()
def pause(name: Name, actor: Actor = None, as_json: Json = False) -> None:
    """Let its ticks pass without a job."""
    from penstock.console.schedule_changes import pause_one

    pause_one(name, actor=actor, as_json=as_json)


@app.command()
def resume(name: Name, actor: Actor = None, as_json: Json = False) -> None:
    """Go on with the next tick; those of the pause are not made up for."""
    from penstock.console.schedule_changes import resume_one

    resume_one(name, actor=actor, as_json=as_json)


@app.command()
def run(name: Name, actor: Actor = None, as_json: Json = False) -> None:
    """Run its job now, apart from its ticks."""
    from penstock.console.schedule_changes import run_one

    run_one(name, actor=actor, as_json=as_json)


@app.command("set")
def set_(
    *,
    name: Name,
    cron: Annotated[str | None, CRON] = None,
    timezone: Annotated[str | None, TIMEZONE] = None,
    missed: Annotated[Missed | None, MISSED] = None,
    missed_max: Annotated[int | None, MISSED_MAX] = None,
    payload: Annotated[str | None, PAYLOAD] = None,
    modules: Modules = None,
    actor: Actor = None,
    as_json: Json = False,
) -> None:
    """Change when it runs, until its code says something else than it does now; and with what, if no code declares it.

    With --jobs a new payload is held against the contract first.
    """
    from penstock.console.schedule_changes import set_one

    timing = {"cron": cron, "timezone": timezone, "missed": missed, "missed_max": missed_max}
    set_one(name, timing, payload=payload, modules=tuple(modules or ()), actor=actor, as_json=as_json)
