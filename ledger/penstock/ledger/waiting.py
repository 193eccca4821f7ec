"""Why a job has not run yet, in plain words."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from penstock.ledger.durations import ago, span

DISPATCH_SECONDS = 10.0
UNKNOWN = ("unknown_type", "unknown_version", "unknown_key")


def why(job: Mapping[str, Any], *, now: datetime, workers: int, broker: bool) -> str:
    """One sentence on what the job waits for, and what would help. `workers` counts registered processes."""
    state = job["state"]
    if state == "executing":
        return _executing(job, now)
    if state == "dead":
        return _dead(job)
    if state in ("completed", "cancelled"):
        return ""
    if job["reason"] in UNKNOWN:
        return f"the worker that got it does not know {_unknown(job)}: start one that does, it runs then"
    if job["due_at"] > now:
        return _later(job, now)
    return _due(job, now=now, workers=workers, broker=broker)


def _later(job: Mapping[str, Any], now: datetime) -> str:
    when = ago(job["due_at"], now)
    if job["state"] == "retryable":
        return f"attempt {job['attempts']} failed; the next is due {when} (`penstock jobs retry` for now)"
    return f"it was asked to run later: due {when} (`penstock jobs retry` for now)"


def _due(job: Mapping[str, Any], *, now: datetime, workers: int, broker: bool) -> str:
    since = span((now - job["due_at"]).total_seconds())
    if job["suspect"]:
        return "a worker process died while it ran: it waits for the suspect lane of a worker, where it runs alone"
    if not workers:
        return f"due for {since}, but no worker process is registered: start `penstock worker`"
    if not broker:
        return f"due for {since}: it waits for a free thread of a worker that serves the queue {job['queue']}"
    if job["dispatched_at"] is not None:
        out = span((now - job["dispatched_at"]).total_seconds())
        return f"it lies in the queue {job['queue']} for {out}: it waits for a free worker that serves this queue"
    overdue = (now - job["due_at"]).total_seconds() > DISPATCH_SECONDS
    remedy = " Is `penstock dispatch`, or a worker without --no-dispatch, running?" if overdue else ""
    return f"due for {since}: it waits for the dispatcher.{remedy}"


def _executing(job: Mapping[str, Any], now: datetime) -> str:
    asked = job["cancel_requested_at"]
    return f"it was asked to cancel {ago(asked, now)}, and its handler still runs" if asked is not None else ""


def _dead(job: Mapping[str, Any]) -> str:
    if job["reason"] == "key_conflict":
        return "its dedup key belongs to another job with another payload: publish it under another key, or discard it"
    if job["reason"] in UNKNOWN:
        return f"no worker that got it knew {_unknown(job)}: start one that does, then `penstock dead replay` this id"
    return "nothing more happens until `penstock dead replay`, or `penstock dead discard`, of this id"


def _unknown(job: Mapping[str, Any]) -> str:
    if job["reason"] == "unknown_key":
        return "the key of a sealed field (PENSTOCK_KEYRING)"
    return "its type" if job["reason"] == "unknown_type" else f"version {job['version']} of its type"
