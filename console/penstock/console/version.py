"""`penstock --version`."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs, so that `penstock --help` is quick

import typer


def show_version(wanted: bool) -> None:
    """Print the version of the house and stop there."""
    if wanted:
        from penstock.schemas.version import __version__

        typer.echo(f"penstock {__version__}")
        raise typer.Exit
