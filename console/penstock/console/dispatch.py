"""`penstock dispatch`."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs, so that `penstock --help` is quick

from typing import Annotated

import typer


def dispatch(
    metrics_port: Annotated[
        int,
        typer.Option("--metrics-port", metavar="N", min=0, max=65535, help="/metrics, /healthz, /readyz; 0: none."),
    ] = 0,
) -> None:
    """Dispatch due jobs and rescue those of vanished workers, until SIGTERM or Ctrl-C; run as many as you like."""
    from penstock.console.dispatching import run_dispatcher

    raise typer.Exit(run_dispatcher(metrics_port=metrics_port or None))
