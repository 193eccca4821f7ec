"""`penstock schemas`: export the contracts, and hold a release against them and against what waits."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs, so that `penstock --help` is quick

from pathlib import Path
from typing import Annotated

import typer

from penstock.console.options import Json

app = typer.Typer(name="schemas", help="Export contracts, and check that a release breaks none.", no_args_is_help=True)

Handlers = Annotated[
    list[str], typer.Option("--jobs", metavar="MODULE", help="A module with handlers, like app.jobs; may be repeated.")
]
Folder = Annotated[Path, typer.Option("--folder", metavar="DIR", help="Where the exports are, for your repository.")]


@app.command()
def export(modules: Handlers, folder: Folder = Path("schemas"), as_json: Json = False) -> None:
    """Write the JSON Schema of each type and version, and the wire as an AsyncAPI 3 document.

    Files of older versions stay: they say what may still wait. Commit the folder.
    """
    from penstock.console.schemas.export import export as export_now

    export_now(tuple(modules), folder, as_json=as_json)


@app.command()
def check(
    modules: Handlers,
    folder: Folder = Path("schemas"),
    live: Annotated[
        bool, typer.Option("--live", help="Hold every payload that waits or is dead, and the schedules', against them.")
    ] = False,
    outbox: Annotated[
        bool, typer.Option("--outbox", help="And the rows of the outbox that PENSTOCK_OUTBOX_DATABASE_URL names.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Refuse a release whose contracts would refuse payloads that the exported ones take, unless they are upcast.

    With --live the payloads in the ledger are read too, with --outbox those that no relay has published yet. Exit code
    1 if there is a problem.
    """
    from penstock.console.schemas.check import check as check_now

    raise typer.Exit(check_now(tuple(modules), folder, live=live, outbox=outbox, as_json=as_json))
