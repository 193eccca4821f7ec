"""`penstock serve`."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs, so that `penstock --help` is quick

from typing import Annotated

import typer

PORT = 8080


def serve(
    *,
    modules: Annotated[
        list[str],
        typer.Option("--jobs", metavar="MODULE", help="A module with handlers, like app.jobs; may be repeated."),
    ],
    host: Annotated[str, typer.Option("--host", metavar="HOST", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="N", min=0, max=65535, help="0: any free one.")] = PORT,
    metrics_port: Annotated[
        int,
        typer.Option(
            "--metrics-port", metavar="N", min=0, max=65535, help="/metrics, /healthz, /readyz; 0: beside the jobs."
        ),
    ] = 0,
    no_auth: Annotated[bool, typer.Option("--no-auth", help="Ask for no credentials; on loopback only.")] = False,
    openapi: Annotated[
        bool, typer.Option("--openapi", help="Print the OpenAPI document and exit; needs no server.")
    ] = False,
    grace: Annotated[
        float,
        typer.Option("--grace", metavar="SECONDS", min=1, help="How long open requests may go on after SIGTERM."),
    ] = 10.0,
) -> None:
    """Take jobs over HTTP until SIGTERM or Ctrl-C; run as many as you like.

    It knows the types that the modules handle, and holds each payload against its contract at the door.
    """
    from penstock.console.serving import ServeOptions, print_openapi, run_gateway

    if openapi:
        print_openapi(tuple(modules))
        return
    run_gateway(
        ServeOptions(
            modules=tuple(modules),
            host=host,
            port=port,
            metrics_port=metrics_port or None,
            with_auth=not no_auth,
            grace_seconds=grace,
        )
    )
