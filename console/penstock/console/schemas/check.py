"""A release held against the exported contracts, and against what waits in the ledger."""

import json
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing
from itertools import chain
from pathlib import Path
from typing import Any

from penstock.console.exits import Code, bad_input
from penstock.console.modules import loaded
from penstock.console.opening import opened_ledger
from penstock.console.printing import print_json, print_line, print_table
from penstock.console.relaying import opened_outbox
from penstock.console.schemas.finding import Finding, LiveFinding
from penstock.console.schemas.live import examine, outbox_payloads, schedule_payloads
from penstock.console.settings import ConsoleSettings
from penstock.console.surroundings import keep_quiet
from penstock.ledger.payloads import LivePayload, live_payloads
from penstock.schemas import Job
from penstock.schemas.compatibility import narrowings
from penstock.schemas.documents import parse_schema_name, payload_schema
from penstock.workers import Registry

Exported = dict[tuple[str, int], dict[str, Any]]

EXPORT_AGAIN = "run `penstock schemas export`, and commit what it writes"
UPCAST = "raise the version and add an upcaster from the old one, or take the change back"


def check(modules: tuple[str, ...], folder: Path, *, live: bool, outbox: bool, as_json: bool) -> Code:
    """Print what was found; exit code 1 if this release would refuse what an older one has accepted."""
    keep_quiet()
    registry = loaded(modules, database_url=ConsoleSettings().database_url)
    findings = compare(exported(folder), registry)
    waiting: list[LiveFinding] = []
    with ExitStack() as stack:
        sources: list[Iterable[LivePayload]] = []
        if live:
            session = stack.enter_context(opened_ledger())
            sources += [live_payloads(session), schedule_payloads(session)]
        if outbox:
            sources.append(outbox_payloads(stack.enter_context(closing(opened_outbox(None)))))
        waiting = examine(chain.from_iterable(sources), registry)
    if as_json:
        print_json({"contracts": [_document(it) for it in findings], "live": [_live_document(it) for it in waiting]})
    else:
        _print_findings(findings)
        if live or outbox:
            _print_live(waiting)
    statuses = [*(it.status for it in findings), *(it.status for it in waiting)]
    return Code.PROBLEM if "problem" in statuses else Code.DONE


def exported(folder: Path) -> Exported:
    """The schemas in the folder by type and version."""
    found = {known: path for path in sorted(folder.glob("*.json")) if (known := parse_schema_name(path.name))}
    if not found:
        raise bad_input(f"--folder {folder}: no exported contracts there; run `penstock schemas export` first")
    try:
        return {known: json.loads(path.read_text(encoding="utf-8")) for known, path in found.items()}
    except ValueError as error:
        raise bad_input(f"--folder {folder}: a file is not JSON: {error}") from None


def compare(before: Exported, registry: Registry) -> list[Finding]:
    """What became of each exported contract, and what is not exported yet."""
    findings = [it for (name, version), schema in before.items() for it in _compare(name, version, schema, registry)]
    for entry in registry:
        contract = entry.contract
        if entry.job_class is not None and (contract.type, contract.version) not in before:
            detail = "is not exported yet"
            findings.append(_finding(contract.type, contract.version, "note", detail=detail, remedy=EXPORT_AGAIN))
    return findings


def _compare(job_type: str, version: int, schema: dict[str, Any], registry: Registry) -> list[Finding]:
    entry = registry.find(job_type, version)
    if entry is None:
        known = registry.knows_type(job_type)
        what = "version has no handler any more, nor an upcaster from it" if known else "type has no handler any more"
        remedy = UPCAST if known else "keep it as an alias of its new name, or delete its file once nothing of it waits"
        return [_finding(job_type, version, "problem", detail=f"this {what}", remedy=remedy)]
    if entry.job_class is None:
        return [_finding(job_type, version, "note", detail="is an actor now, whose arguments nobody checks")]
    if entry.contract.version != version:
        return [_finding(job_type, version, "ok", detail=f"is upcast to version {entry.contract.version}")]
    return _compare_schemas(job_type, version, schema, entry.job_class)


def _compare_schemas(job_type: str, version: int, before: dict[str, Any], job_class: type[Job]) -> list[Finding]:
    after = payload_schema(job_class)
    found = narrowings(before, after)
    if found:
        return [
            _finding(job_type, version, "problem", field=it.field, detail=it.problem, remedy=UPCAST) for it in found
        ]
    if job_type == job_class.contract().type and before != after:
        return [_finding(job_type, version, "note", detail="has changed, compatibly", remedy=EXPORT_AGAIN)]
    return [_finding(job_type, version, "ok", detail="takes what it took")]


def _finding(job_type: str, version: int, status: Any, **said: str) -> Finding:
    return Finding(type=job_type, version=version, status=status, **said)


def _document(it: Finding) -> dict[str, Any]:
    return {name: getattr(it, name) for name in ("type", "version", "status", "field", "detail", "remedy")}


def _live_document(it: LiveFinding) -> dict[str, Any]:
    return {
        "type": it.type,
        "version": it.version,
        "status": it.status,
        "known": it.known,
        "jobs": it.jobs,
        "states": dict(it.states),
        "refused": dict(it.refused),
        "fields": [
            {"field": field, "problem": problem, "jobs": jobs} for (field, problem), jobs in it.fields.most_common()
        ],
        "examples": [example._asdict() for example in it.examples],
    }


def _print_findings(findings: Sequence[Finding]) -> None:
    rows = [
        (
            f"{it.type} v{it.version}",
            it.status,
            f"{f'{it.field} ' if it.field else ''}{it.detail}" + (f"\n→ {it.remedy}" if it.remedy else ""),
        )
        for it in findings
    ]
    print_table(("contract", "status", "what has changed, and the remedy"), rows, keep=("status",))


def _print_live(waiting: Sequence[LiveFinding]) -> None:
    print_line("")
    if not waiting:
        print_line("no payload waits, runs or is dead there: nothing to hold this release against")
        return
    rows = [(f"{it.type} v{it.version}", it.status, str(it.jobs), _told(it)) for it in waiting]
    print_table(("what waits", "status", "jobs", "what this release would do"), rows, keep=("status", "jobs"))


def _told(it: LiveFinding) -> str:
    if not it.known:
        return "not handled by these modules"
    if not it.refused:
        return "takes them all"
    by_state = ", ".join(f"{jobs} {state}" for state, jobs in sorted(it.refused.items()))
    fields = [f"{field}: {problem} ({jobs})" for (field, problem), jobs in it.fields.most_common(5)]
    examples = [f"{example.id} ({example.state}) {example.field}" for example in it.examples]
    return "\n".join([f"refuses {it.refused.total()} ({by_state})", *fields, "for example", *examples])
