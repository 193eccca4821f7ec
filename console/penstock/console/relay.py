"""`penstock relay`."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs, so that `penstock --help` is quick

from typing import Annotated

import typer

from penstock.console.options import OutboxUrl


def relay(
    *,
    database_url: OutboxUrl = None,
    broker_url: Annotated[
        str | None, typer.Option("--broker-url", metavar="URL", help="RabbitMQ; default: PENSTOCK_BROKER_URL.")
    ] = None,
    batch: Annotated[int, typer.Option("--batch", metavar="N", min=1, max=5000, help="Rows per transaction.")] = 500,
    metrics_port: Annotated[
        int,
        typer.Option("--metrics-port", metavar="N", min=0, max=65535, help="/metrics, /healthz, /readyz; 0: none."),
    ] = 0,
) -> None:
    """Publish what services have put into their outbox, until SIGTERM or Ctrl-C; run as many as you like."""
    from penstock.console.relaying import run_relay

    run_relay(database_url=database_url, broker_url=broker_url, batch_rows=batch, metrics_port=metrics_port or None)
