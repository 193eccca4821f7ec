"""`penstock doctor`."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs, so that `penstock --help` is quick

import typer

from penstock.console.options import Json, Modules


def doctor(modules: Modules = None, as_json: Json = False) -> None:
    """Check database, broker, Redis and this host, and say how to put right what is wrong. Changes nothing.

    With --jobs it also looks at the queues of these handlers. Exit code 1 if there is a problem.
    """
    from penstock.console.doctor.examination import examine, print_findings

    findings = examine(tuple(modules or ()))
    raise typer.Exit(print_findings(findings, as_json=as_json))
