"""Jobs as the gateway shows them: never their payload."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import pydantic_core
from sqlalchemy import select

from penstock.ledger.clock import now
from penstock.ledger.database import Session
from penstock.ledger.jobs import show_job
from penstock.ledger.processes import list_processes
from penstock.ledger.waiting import why
from penstock.producers.gateway.caller import Caller

FAILURES_MAX = 20
_FIELDS = ("id", "type", "version", "queue", "state", "reason", "attempts", "tenant", "correlation_id", "error")
_TIMES = ("created_at", "due_at", "started_at", "finished_at", "cancel_requested_at")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What decides, beside the row itself, why a job waits."""

    now: datetime
    workers: int
    broker: bool

    @classmethod
    def look(cls, session: Session, *, broker: bool) -> "Surroundings":
        time = session.connection.execute(select(now(session.dialect))).scalar_one()
        return cls(time, len(list_processes(session)), broker)


def job_document(job: Mapping[str, Any], caller: Caller, around: Surroundings) -> dict[str, Any]:
    """One job of a list."""
    said = why(job, now=around.now, workers=around.workers, broker=around.broker)
    return {
        **{name: job[name] for name in (*_FIELDS, *_TIMES)},
        "key": caller.shown_key(job["dedup_key"]),
        "waits_for": said or None,
    }


def whole_job(job: Mapping[str, Any], caller: Caller, around: Surroundings) -> dict[str, Any]:
    """One job with its result and its last failures."""
    failures = [
        {
            "attempt": row["attempt"],
            "kind": row["kind"],
            "error_class": row["error_class"],
            "message": row["message"],
            "at": row["created_at"],
        }
        for row in job["history"][-FAILURES_MAX:]
    ]
    return {**job_document(job, caller, around), "result": _result(job["result"]), "failures": failures}


def find_job(session: Session, job_id: str, caller: Caller) -> dict[str, Any] | None:
    """The row, if there is one that this caller may see; by the id of a duplicate too."""
    job = show_job(session, job_id)
    if job is None or not job["type"] or not caller.sees(job["tenant"]) or not caller.may("read", job["type"]):
        return None
    return job


def _result(body: bytes | None) -> Any:
    """Byte for byte where it is JSON."""
    if body is None:
        return None
    try:
        pydantic_core.from_json(bytes(body), allow_inf_nan=False)
    except ValueError:
        return bytes(body).decode("utf-8", "replace")
    return msgspec.Raw(bytes(body))
