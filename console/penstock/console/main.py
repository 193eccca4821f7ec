"""The `penstock` command, put together from its parts.

Modules of commands are light to import: what is heavy (SQLAlchemy, Alembic, Dramatiq) is imported when a command runs.
"""

from typing import Annotated

import typer

from penstock.console import dead, jobs, keys, outbox, quarantine, schedules
from penstock.console.commands import Commands
from penstock.console.dispatch import dispatch
from penstock.console.doctor.command import doctor
from penstock.console.migrate import migrate
from penstock.console.publish import publish
from penstock.console.rebuild import rebuild
from penstock.console.relay import relay
from penstock.console.schemas import command as schemas
from penstock.console.serve import serve
from penstock.console.setting_names import check_setting_names
from penstock.console.version import show_version
from penstock.console.worker import worker

app = typer.Typer(
    name="penstock",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_RUN, _JOBS, _CARE = "Run", "Jobs", "Care"
app.command(rich_help_panel=_RUN)(migrate)
app.command(rich_help_panel=_RUN)(worker)
app.command(rich_help_panel=_RUN)(dispatch)
app.command(rich_help_panel=_RUN)(serve)
app.command(rich_help_panel=_RUN)(relay)
app.command(rich_help_panel=_JOBS)(publish)
app.add_typer(jobs.app, rich_help_panel=_JOBS)
app.add_typer(dead.app, rich_help_panel=_JOBS)
app.add_typer(quarantine.app, rich_help_panel=_JOBS)
app.add_typer(schemas.app, rich_help_panel=_CARE)
app.add_typer(keys.app, rich_help_panel=_CARE)
app.add_typer(schedules.app, rich_help_panel=_JOBS)
app.add_typer(outbox.app, rich_help_panel=_JOBS)
app.command(rich_help_panel=_CARE)(doctor)
app.command(rich_help_panel=_CARE)(rebuild)


@app.callback()
def penstock(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Background jobs on RabbitMQ and Postgres: no job lost, no effect twice, or it says so.

    Servers are named by the environment or by .env: PENSTOCK_DATABASE_URL (default: an SQLite file here) and
    PENSTOCK_BROKER_URL (default: local, no broker).

    Exit codes: 0 done, 1 a problem or not found, 2 bad input, 3 a server cannot be reached.
    """
    check_setting_names()
