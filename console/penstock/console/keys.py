"""`penstock keys`: credentials for the HTTP gateway."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs, so that `penstock --help` is quick

from typing import Annotated

import typer

from penstock.console.options import Actor, Json

app = typer.Typer(name="keys", help="Make, list, rotate and revoke API keys of the HTTP gateway.", no_args_is_help=True)

KeyId = Annotated[
    str, typer.Argument(metavar="ID", help="The key's id: what stands between the first two underscores.")
]


@app.command()
def create(
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who gets it.")],
    scope: Annotated[
        list[str],
        typer.Option("--scope", metavar="SCOPE", help="publish:, read: or cancel: and a type, like publish:orders.*"),
    ],
    tenant: Annotated[
        str | None, typer.Option("--tenant", metavar="NAME", help="Makes and sees only jobs of this tenant.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="TIME", help="2027-01-01T00:00:00Z, or +90d; default: never.")
    ] = None,
    per_minute: Annotated[
        int | None, typer.Option("--per-minute", metavar="N", min=1, help="Its rate limit, in requests or jobs.")
    ] = None,
    actor: Actor = None,
    as_json: Json = False,
) -> None:
    """Make an API key and show it, once."""
    from penstock.console.key_changes import create_key

    create_key(
        name=name, scopes=scope, tenant=tenant, expires=expires, per_minute=per_minute, actor=actor, as_json=as_json
    )


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List all keys, without their secrets."""
    from penstock.console.key_lists import print_keys

    print_keys(as_json=as_json)


@app.command()
def rotate(
    key_id: KeyId,
    overlap: Annotated[
        str, typer.Option("--overlap", metavar="TIME", help="How long the old one stays good: +1d, or until a time.")
    ] = "+1d",
    actor: Actor = None,
    as_json: Json = False,
) -> None:
    """Make a new key with the same rights and show it, once; the old one ends after the overlap."""
    from penstock.console.key_changes import rotate_key

    rotate_key(key_id, overlap=overlap, actor=actor, as_json=as_json)


@app.command()
def revoke(key_id: KeyId, actor: Actor = None, as_json: Json = False) -> None:
    """End a key; gateways stop taking it within five seconds."""
    from penstock.console.key_changes import revoke_key

    revoke_key(key_id, actor=actor, as_json=as_json)
