"""Options that several commands have."""

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="JSON for programs; one document per line where it is a list.")]
Actor = Annotated[
    str | None,
    typer.Option("--actor", metavar="NAME", help="Who does this, for the audit: PENSTOCK_ACTOR, else the OS user."),
]
Modules = Annotated[
    list[str] | None,
    typer.Option("--jobs", metavar="MODULE", help="A module with handlers, like app.jobs; may be repeated."),
]
Limit = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most so many.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Payload = Annotated[bool, typer.Option("--payload", help="Show payload and result too; the audit notes who asked.")]
JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id, or that of a duplicate.")]
OutboxUrl = Annotated[
    str | None,
    typer.Option(
        "--database-url", metavar="URL", help="The database with the outbox; default: PENSTOCK_OUTBOX_DATABASE_URL."
    ),
]
