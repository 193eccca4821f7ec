"""`penstock dead`: find dead letters, understand them, replay or discard them."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs, so that `penstock --help` is quick

from typing import Annotated

import typer

from penstock.console.options import Actor, JobId, Json, Limit, Payload, Yes

app = typer.Typer(name="dead", help="Find dead letters, replay or discard them.", no_args_is_help=True)

Ids = Annotated[list[str] | None, typer.Argument(metavar="ID", help="These dead letters.", show_default=False)]
Type = Annotated[str | None, typer.Option("--type", metavar="TYPE", help="Those of this type.")]
Fingerprint = Annotated[
    str | None, typer.Option("--fingerprint", metavar="TEXT", help="Those that failed in the same way.")
]
Reason = Annotated[str | None, typer.Option("--reason", metavar="REASON", help="Those that are dead for this reason.")]
All = Annotated[bool, typer.Option("--all", help="All dead letters.")]


@app.command("list")
def list_(
    *,
    job_type: Type = None,
    fingerprint: Fingerprint = None,
    reason: Reason = None,
    each: Annotated[bool, typer.Option("--each", help="Single dead letters instead of groups.")] = False,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List dead letters, grouped by type, reason and fingerprint; the largest group first."""
    from penstock.console.dead_lists import list_each, list_groups
    from penstock.ledger.dead_letters import Selection

    listed = list_each if each else list_groups
    listed(Selection(type=job_type, fingerprint=fingerprint, reason=reason), limit=limit, as_json=as_json)


@app.command()
def show(job_id: JobId, payload: Payload = False, actor: Actor = None, as_json: Json = False) -> None:
    """Show all about one dead letter; the same as `penstock jobs show`."""
    from penstock.console.jobs import show as show_job

    show_job(job_id, payload=payload, actor=actor, as_json=as_json)


@app.command()
def replay(
    *,
    ids: Ids = None,
    job_type: Type = None,
    fingerprint: Fingerprint = None,
    reason: Reason = None,
    everything: All = False,
    per_second: Annotated[
        float | None, typer.Option("--per-second", metavar="N", min=0.001, help="Spread them: so many in a second.")
    ] = None,
    yes: Yes = False,
    actor: Actor = None,
    as_json: Json = False,
) -> None:
    """Put dead letters back, once each, with all their attempts. Key conflicts are not replayed."""
    from penstock.console.dead_changes import replay as replay_now
    from penstock.console.dead_changes import selected

    selection = selected(ids, job_type=job_type, fingerprint=fingerprint, reason=reason, everything=everything)
    raise typer.Exit(replay_now(selection, per_second=per_second, yes=yes, actor=actor, as_json=as_json))


@app.command()
def discard(
    *,
    ids: Ids = None,
    job_type: Type = None,
    fingerprint: Fingerprint = None,
    reason: Reason = None,
    everything: All = False,
    yes: Yes = False,
    actor: Actor = None,
    as_json: Json = False,
) -> None:
    """Give dead letters up: they become cancelled, and will never run."""
    from penstock.console.dead_changes import discard as discard_now
    from penstock.console.dead_changes import selected

    selection = selected(ids, job_type=job_type, fingerprint=fingerprint, reason=reason, everything=everything)
    raise typer.Exit(discard_now(selection, yes=yes, actor=actor, as_json=as_json))
