"""Changes to one job, each in the audit."""

from typing import Any

from penstock.console.exits import Code, problem
from penstock.console.job_tables import state_text
from penstock.console.opening import job_id_of, opened_ledger
from penstock.console.printing import print_json, print_line
from penstock.console.settings import actor_of
from penstock.ledger.database import Session
from penstock.ledger.jobs import cancel_job, hurry_job, show_job

SAID = {
    "cancelled": "is cancelled",
    "requested": "runs: it was asked to cancel, and is cancelled as soon as it ends without success",
    "unseen": "has not been seen yet: it is cancelled when it arrives",
    "completed": "is completed already: there is nothing to cancel",
    "dead": "is dead already: `penstock dead discard` gives it up",
}


def cancel(text: str, *, actor: str | None, as_json: bool) -> Code:
    """Cancel a job, or leave a note for one that has not arrived; exit code 1 if it had ended otherwise."""
    job_id, who = job_id_of(text), actor_of(actor)
    with opened_ledger() as session:
        job = show_job(session, job_id)
        target = job_id if job is None else str(job["id"])  # a duplicate's id stands for the first job
        outcome = cancel_job(session, target, actor=who)
    if job is None and outcome == "cancelled":
        outcome = "unseen"
    _report(target, outcome, SAID.get(outcome, f"is {outcome} already"), as_json=as_json)
    return Code.DONE if outcome in ("cancelled", "requested", "unseen") else Code.PROBLEM


def hurry(text: str, *, actor: str | None, as_json: bool) -> Code:
    """Let a waiting job be due now."""
    job_id, who = job_id_of(text), actor_of(actor)
    with opened_ledger() as session:
        target, job = _existing(session, job_id)
        hurried = hurry_job(session, target, actor=who)
    if not hurried:
        remedy = f": `penstock dead replay {target}`" if job["state"] == "dead" else ""
        raise problem(f"job {target} does not wait, it is {state_text(job)}{remedy}")
    _report(target, "due", "is due now", as_json=as_json)
    return Code.DONE


def _existing(session: Session, job_id: str) -> tuple[str, dict[str, Any]]:
    job = show_job(session, job_id)
    if job is None:
        raise problem(f"job {job_id} is not in the ledger: it was never seen, or has left it after its time")
    return str(job["id"]), job


def _report(job_id: str, outcome: str, said: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"job_id": job_id, "outcome": outcome})
    else:
        print_line(f"job {job_id} {said}")
