"""Jobs in a table, and as documents with stable names."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from penstock.console.printing import briefly, console, print_line, print_table

Row = Mapping[str, Any]

# From so many columns on, a terminal has room for more than id, type, state and time.
ROOMY, WIDE = 100, 120
ID_WIDTH, ERROR_WIDTH = 36, 48

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
    """One line for each job, with as many columns as there is room for, and how to see the rest."""
    if not found:
        print_line("no jobs")
        return
    width = console().width
    columns: dict[str, Callable[[Row], str]] = {"job": lambda job: str(job["id"]), "type": lambda job: str(job["type"])}
    if width >= WIDE:
        columns["queue"] = lambda job: str(job["queue"])
    columns["state"] = state_text if width >= ROOMY else lambda job: str(job["state"])
    if width >= ROOMY:
        columns["tries"] = lambda job: str(job["attempts"])
    columns["when"] = lambda job: when(job, now)
    rows = [[tell(job) for tell in columns.values()] for job in found]
    print_table(tuple(columns), rows, keep=("job", "state", "tries", "when"))
    if more:
        print_line(f"there may be more: --before {found[-1]['id']}")


def print_dead(found: Sequence[Row], now: datetime, *, more: bool) -> None:
    """Each dead letter with its error below its id."""
    if not found:
        print_line("no dead letters")
        return
    rows = [
        (f"{job['id']}\n{job['error'] or ''}".rstrip(), job["type"], job["reason"] or "", when(job, now))
        for job in found
    ]
    columns = ("job, and its error", "type", "reason", "when")
    print_table(columns, rows, keep=("reason", "when"), id_width=ERROR_WIDTH if console().width >= ROOMY else ID_WIDTH)
    if more:
        print_line("there may be more: --limit")


def state_text(job: Row) -> str:
    """The state with its reason, where that says more."""
    reason = job["reason"]
    return f"{job['state']} ({reason})" if reason and reason != job["state"] else str(job["state"])


def when(job: Row, now: datetime) -> str:
    """The time that matters in this state: due, started or ended."""
    if job["finished_at"] is not None:
        return briefly(job["finished_at"], now)
    if job["state"] == "executing":
        return briefly(job["started_at"], now) if job["started_at"] else "now"
    return f"due {briefly(job['due_at'], now)}"
