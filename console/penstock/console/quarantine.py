"""`penstock quarantine`: messages that could not be read."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs, so that `penstock --help` is quick

from typing import Annotated

import typer

from penstock.console.options import Actor, Json, Limit, Payload

app = typer.Typer(name="quarantine", help="Look at messages that could not be read.", no_args_is_help=True)


@app.command("list")
def list_(limit: Limit = 50, as_json: Json = False) -> None:
    """List quarantined messages, the newest first, without their bodies."""
    from penstock.console.quarantined import list_messages

    list_messages(limit=limit, as_json=as_json)


@app.command()
def show(
    number: Annotated[int, typer.Argument(metavar="NUMBER", min=1, help="The number that `list` shows.")],
    payload: Payload = False,
    actor: Actor = None,
    as_json: Json = False,
) -> None:
    """Show one quarantined message; its body stays hidden unless asked for."""
    from penstock.console.quarantined import show_message

    show_message(number, with_payload=payload, actor=actor, as_json=as_json)
