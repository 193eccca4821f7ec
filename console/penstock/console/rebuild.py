"""`penstock rebuild`."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs, so that `penstock --help` is quick

import typer

from penstock.console.options import Actor, Json, Modules


def rebuild(modules: Modules = None, actor: Actor = None, as_json: Json = False) -> None:
    """After RabbitMQ was lost: declare exchange, queues and bindings, and dispatch again all that is unfinished.

    The queues are those of --jobs and of the jobs that wait in the ledger. Doing it without need is harmless:
    what arrives twice is absorbed.
    """
    from penstock.console.rebuilding import rebuild as rebuild_now

    raise typer.Exit(rebuild_now(tuple(modules or ()), actor=actor, as_json=as_json))
