"""`penstock jobs`: look at single jobs, cancel them, let them run now."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs, so that `penstock --help` is quick

from typing import Annotated, Literal

import typer

from penstock.console.options import Actor, JobId, Json, Limit, Payload

app = typer.Typer(name="jobs", help="Look at jobs, cancel them, let waiting ones run now.", no_args_is_help=True)

StateName = Literal["scheduled", "available", "executing", "retryable", "completed", "dead", "cancelled"]


@app.command("list")
def list_(
    *,
    state: Annotated[StateName | None, typer.Option("--state", help="Only in this state.")] = None,
    job_type: Annotated[str | None, typer.Option("--type", metavar="TYPE", help="Only of this type.")] = None,
    queue: Annotated[str | None, typer.Option("--queue", metavar="QUEUE", help="Only of this queue.")] = None,
    before: Annotated[str | None, typer.Option("--before", metavar="ID", help="Go on below this id.")] = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List jobs, the newest first, without their payloads."""
    from penstock.console.job_tables import as_document, print_jobs
    from penstock.console.opening import job_id_of, opened_ledger, time_of
    from penstock.console.printing import print_json_lines
    from penstock.ledger.jobs import list_jobs

    before_id = None if before is None else job_id_of(before)
    with opened_ledger() as session:
        found = list_jobs(session, state=state, type=job_type, queue=queue, before=before_id, limit=limit)
        now = time_of(session)
    if as_json:
        print_json_lines(as_document(job) for job in found)
    else:
        print_jobs(found, now, more=len(found) == limit)


@app.command()
def show(job_id: JobId, payload: Payload = False, actor: Actor = None, as_json: Json = False) -> None:
    """Show all about one job: its history, its effects, and why it waits. Payloads stay hidden unless asked for."""
    from penstock.console.job_page import page_of, print_page
    from penstock.console.printing import print_json

    page = page_of(job_id, with_payload=payload, actor=actor)
    if as_json:
        print_json(page.document)
    else:
        print_page(page)


@app.command()
def cancel(job_id: JobId, actor: Actor = None, as_json: Json = False) -> None:
    """Cancel a job: at once if it waits; one that runs is asked, and cancelled when it ends without success."""
    from penstock.console.job_changes import cancel as cancel_now

    raise typer.Exit(cancel_now(job_id, actor=actor, as_json=as_json))


@app.command()
def retry(job_id: JobId, actor: Actor = None, as_json: Json = False) -> None:
    """Let a job that waits for its time run now. A dead one is replayed: `penstock dead replay`."""
    from penstock.console.job_changes import hurry

    raise typer.Exit(hurry(job_id, actor=actor, as_json=as_json))
