"""Jobs in a table, and as documents with stable names."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from penstock.console.printing import ago, print_line, print_table

Row = Mapping[str, Any]

# What `--json` gives of a job, in this order; the names are those of the ledger.
FIELDS = (
    "id",
    "type",
    "version",
    "queue",
    "state",
    "reason",
    "attempts",
    "due_at",
    "created_at",
    "started_at",
    "finished_at",
    "dedup_key",
    "tenant",
    "correlation_id",
    "app_id",
    "error",
    "fingerprint",
    "process_id",
    "dispatched_at",
    "cancel_requested_at",
    "at_most_once",
    "suspect",
    "crashes",
    "losses",
    "troubles",
)


def as_document(job: Row) -> dict[str, Any]:
    """A job for `--json`, without its payload."""
    return {name: job[name] for name in FIELDS}


def print_jobs(found: Sequence[Row], now: datetime, *, more: bool) -> None:
    """One line for each job, and how to see the rest."""
    if not found:
        print_line("no jobs")
        return
    rows = [
        (job["id"], job["type"], job["queue"], state_text(job), str(job["attempts"]), when(job, now)) for job in found
    ]
    print_table(("job", "type", "queue", "state", "tries", "when"), rows, keep=("job", "tries", "when"))
    if more:
        print_line(f"there may be more: --before {found[-1]['id']}")


def print_dead(found: Sequence[Row], now: datetime, *, more: bool) -> None:
    """One line for each dead letter: why, and since when."""
    if not found:
        print_line("no dead letters")
        return
    rows = [(job["id"], job["type"], job["reason"] or "", job["error"] or "", when(job, now)) for job in found]
    print_table(("job", "type", "reason", "error", "when"), rows, keep=("job", "when"))
    if more:
        print_line("there may be more: --limit")


def state_text(job: Row) -> str:
    """The state with its reason, where that says more."""
    reason = job["reason"]
    return f"{job['state']} ({reason})" if reason and reason != job["state"] else str(job["state"])


def when(job: Row, now: datetime) -> str:
    """The time that matters in this state: due, started or ended."""
    if job["finished_at"] is not None:
        return ago(job["finished_at"], now)
    if job["state"] == "executing":
        return ago(job["started_at"], now) if job["started_at"] else "now"
    return f"due {ago(job['due_at'], now)}"
