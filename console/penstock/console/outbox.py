"""`penstock outbox`: what a service has enqueued and no relay has published yet."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs, so that `penstock --help` is quick

from typing import Annotated, Literal

import typer

from penstock.console.options import Json, Limit, OutboxUrl

app = typer.Typer(
    name="outbox", help="Make a service's outbox, see what waits in it, and what is held.", no_args_is_help=True
)


@app.command()
def ddl(
    dialect: Annotated[
        Literal["postgresql", "sqlite"], typer.Option("--dialect", help="The kind of database.")
    ] = "postgresql",
) -> None:
    """Print the statements that make the outbox, for a service's own migrations."""
    from penstock.producers.outbox import DDL

    typer.echo(DDL[dialect], nl=False)


@app.command()
def create(database_url: OutboxUrl = None) -> None:
    """Make the outbox where there is none, as `ddl` has it."""
    from penstock.console.outbox_lists import create_outbox

    create_outbox(database_url)


@app.command("list")
def list_(database_url: OutboxUrl = None, limit: Limit = 50, as_json: Json = False) -> None:
    """Say how many rows wait, for how long, and list those that are held, with the reason."""
    from penstock.console.outbox_lists import list_outbox

    list_outbox(database_url, limit=limit, as_json=as_json)


@app.command()
def retry(
    database_url: OutboxUrl = None,
    job_type: Annotated[str | None, typer.Option("--type", metavar="TYPE", help="Those of this type.")] = None,
    as_json: Json = False,
) -> None:
    """Let held rows be tried again now, instead of when their time comes."""
    from penstock.console.outbox_lists import retry_outbox

    retry_outbox(database_url, job_type=job_type, as_json=as_json)
