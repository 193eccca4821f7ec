"""Everything about one job."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from penstock.console.exits import problem
from penstock.console.job_tables import as_document, state_text
from penstock.console.opening import job_id_of, opened_ledger, time_of
from penstock.console.printing import briefly, moment, print_facts, print_line, print_table
from penstock.console.settings import ConsoleSettings, actor_of
from penstock.ledger.audit import record
from penstock.ledger.jobs import show_job
from penstock.ledger.processes import Process, list_processes
from penstock.ledger.waiting import why
from penstock.schemas.keyring import hide_sealed

HISTORY_FIELDS = ("attempt", "kind", "error_class", "message", "traceback", "fingerprint", "process_id", "created_at")
EFFECT_FIELDS = ("step", "key", "state", "intended_at", "done_at")


@dataclass(frozen=True, slots=True)
class JobPage:
    """`document` is what `--json` prints; `payload` is None unless it was asked for."""

    job: Mapping[str, Any]
    document: Mapping[str, Any]
    process: Process | None
    payload: bytes | None
    now: datetime


def page_of(text: str, *, with_payload: bool, actor: str | None) -> JobPage:
    """Look the job up, by its id or an alias; a reveal of its payload is in the audit before it is shown."""
    job_id = job_id_of(text)
    who = actor_of(actor)
    with opened_ledger() as session:
        job = show_job(session, job_id)
        if job is None:
            raise problem(f"job {job_id} is not in the ledger: it was never seen, or has left it after its time")
        if with_payload:
            record(session, actor=who, action="show payload", target=str(job["id"]))
        processes = list_processes(session)
        now = time_of(session)
    broker = ConsoleSettings().has_broker
    document = {
        **as_document(job),
        "alias": job["alias"],
        "why": why(job, now=now, workers=len(processes), broker=broker),
        "payload_bytes": len(job["payload"]),
        "result_bytes": len(job["result"] or b""),
        "history": [{name: row[name] for name in HISTORY_FIELDS} for row in job["history"]],
        "effects": [{name: row[name] for name in EFFECT_FIELDS} for row in job["effects"]],
    }
    payload = bytes(job["payload"]) if with_payload else None
    if payload is not None:
        document["payload"] = _readable(payload)
        document["result"] = None if job["result"] is None else _readable(bytes(job["result"]))
    process = (
        next((it for it in processes if it.id == job["process_id"]), None) if job["state"] == "executing" else None
    )
    return JobPage(job, document, process, payload, now)


def print_page(page: JobPage) -> None:
    """For people: what it is, how it stands and why, then its history and its effects."""
    _print_facts(page)
    if page.job["history"]:
        print_line("")
        rows = [
            (str(row["attempt"]), row["kind"], _error(row), briefly(row["created_at"], page.now))
            for row in page.job["history"]
        ]
        print_table(("try", "what", "error", "when"), rows, keep=("try", "what", "when"))
    if page.job["effects"]:
        print_line("")
        rows = [
            (row["step"], row["state"], row["key"], briefly(row["done_at"] or row["intended_at"], page.now))
            for row in page.job["effects"]
        ]
        print_table(("effect", "state", "idempotency key", "when"), rows, keep=("state", "when"))


def _print_facts(page: JobPage) -> None:
    job, now = page.job, page.now
    process = page.process
    print_facts(
        [
            ("job", job["id"]),
            ("asked for", f"{job['alias']}, a duplicate of it" if job["alias"] else ""),
            ("type", f"{job['type']} v{job['version']}" if job["type"] else "unknown: it was cancelled before it came"),
            ("queue", job["queue"]),
            ("state", state_text(job)),
            ("why", page.document["why"]),
            ("runs in", f"process {process.pid} on {process.host}, pool {process.pool}" if process else ""),
            ("attempts", str(job["attempts"])),
            ("guarantee", "at most once" if job["at_most_once"] else ""),
            ("key", job["dedup_key"] or ""),
            ("tenant", job["tenant"] or ""),
            ("published by", job["app_id"] or ""),
            ("correlation", job["correlation_id"] or ""),
            ("accepted", moment(job["created_at"], now)),
            ("due", moment(job["due_at"], now) if job["finished_at"] is None else ""),
            ("started", moment(job["started_at"], now)),
            ("ended", moment(job["finished_at"], now)),
            ("error", job["error"] or ""),
            ("fingerprint", job["fingerprint"] or ""),
            ("payload", _text(page.job["payload"], page)),
            ("result", _text(page.job["result"], page) if page.job["result"] is not None else ""),
        ]
    )


def _text(body: bytes, page: JobPage) -> str:
    if page.payload is None:
        return f"{len(body)} bytes, hidden (--payload shows it)"
    return json.dumps(_readable(bytes(body)), ensure_ascii=False, indent=2)


def _readable(body: bytes) -> Any:
    """The payload as JSON, or as the text it is; nobody here opens what is sealed."""
    try:
        return hide_sealed(json.loads(body))
    except ValueError:
        return body.decode("utf-8", "replace")


def _error(row: Mapping[str, Any]) -> str:
    return ": ".join(part for part in (row["error_class"], row["message"]) if part)
