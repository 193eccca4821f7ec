"""`penstock schedules`: jobs that come by the clock."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs, so that `penstock --help` is quick

from typing import Annotated, Literal

import typer

from penstock.console.options import Actor, Json, Payload

app = typer.Typer(name="schedules", help="See, pause and change what comes by the clock.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]


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
    cron: Annotated[str | None, typer.Option("--cron", metavar="TEXT", help="Five fields, like '0 7 * * *'.")] = None,
    timezone: Annotated[
        str | None, typer.Option("--timezone", metavar="ZONE", help="Where the clock hangs, like Europe/Warsaw.")
    ] = None,
    missed: Annotated[
        Literal["skip", "one", "all"] | None, typer.Option("--missed", help="What becomes of missed ticks.")
    ] = None,
    missed_max: Annotated[
        int | None, typer.Option("--missed-max", metavar="N", min=1, max=10_000, help="At most so many with `all`.")
    ] = None,
    actor: Actor = None,
    as_json: Json = False,
) -> None:
    """Change when it runs, until its code says something else than it does now."""
    from penstock.console.schedule_changes import set_one

    set_one(name, cron=cron, timezone=timezone, missed=missed, missed_max=missed_max, actor=actor, as_json=as_json)
