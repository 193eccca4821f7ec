"""`penstock worker`."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs, so that `penstock --help` is quick

from typing import Annotated

import typer

METRICS_PORT = 9394


def worker(
    *,
    modules: Annotated[
        list[str],
        typer.Option("--jobs", metavar="MODULE", help="A module with handlers, like app.jobs; may be repeated."),
    ],
    pool: Annotated[str, typer.Option("--pool", metavar="NAME", help="The pool's name, in logs and metrics.")] = (
        "default"
    ),
    processes: Annotated[int, typer.Option("--processes", metavar="N", help="Worker processes.")] = 1,
    threads: Annotated[int, typer.Option("--threads", metavar="N", help="Threads of each process.")] = 8,
    queues: Annotated[
        str | None, typer.Option("--queues", metavar="A,B", help="Only these queues; default: all that handlers use.")
    ] = None,
    no_dispatch: Annotated[
        bool, typer.Option("--no-dispatch", help="Leave dispatching and rescuing to `penstock dispatch`.")
    ] = False,
    metrics_port: Annotated[
        int,
        typer.Option("--metrics-port", metavar="N", min=0, max=65535, help="/metrics, /healthz, /readyz; 0: none."),
    ] = METRICS_PORT,
    grace: Annotated[
        float | None,
        typer.Option(
            "--grace",
            metavar="SECONDS",
            min=0,
            help="How long running jobs may go on after SIGTERM; default: PENSTOCK_GRACE_SECONDS, else 25.",
        ),
    ] = None,
) -> None:
    """Run jobs until SIGTERM or Ctrl-C; a second signal ends it at once.

    The modules are imported from the current directory or wherever Python finds them.
    """
    from penstock.console.running import WorkerOptions, run_worker

    code = run_worker(
        WorkerOptions(
            modules=tuple(modules),
            pool=pool,
            processes=processes,
            threads=threads,
            queues=None if queues is None else tuple(name.strip() for name in queues.split(",") if name.strip()),
            with_dispatcher=not no_dispatch,
            metrics_port=metrics_port or None,
            grace_seconds=grace,
        )
    )
    raise typer.Exit(code)
