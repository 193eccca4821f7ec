"""What waits in the ledger and in an outbox, held against the contracts of this release."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from penstock.console.schemas.finding import LiveFinding
from penstock.ledger.database import Session
from penstock.ledger.payloads import LivePayload
from penstock.ledger.schedules import list_schedules
from penstock.producers.outbox.store import Store
from penstock.producers.schedules.template import at_tick
from penstock.schemas import PayloadError
from penstock.workers import Registry


def examine(payloads: Iterable[LivePayload], registry: Registry) -> list[LiveFinding]:
    """Read every payload as a worker would; by type and version. A type that is not handled here is only noted."""
    findings: dict[tuple[str, int], LiveFinding] = {}
    for it in payloads:
        key = (it.type, it.version)
        if (finding := findings.get(key)) is None:
            finding = findings[key] = LiveFinding(it.type, it.version, known=registry.knows_type(it.type))
        finding.states[it.state] += 1
        if finding.known and (refusal := _refusal(it, registry)) is not None:
            finding.refuse(it.id, it.state, *refusal)
    return [findings[key] for key in sorted(findings)]


def schedule_payloads(session: Session) -> Iterator[LivePayload]:
    """What the schedules would make now, those that are paused too; the id is the schedule's name."""
    for it in list_schedules(session):
        if it.removed_at is None:
            payload = at_tick(bytes(it.payload), it.tick_field, datetime.now(UTC))
            yield LivePayload(it.name, it.type, it.version, "schedule", payload)


def outbox_payloads(store: Store) -> Iterator[LivePayload]:
    """What a service has enqueued, and no relay has published yet."""
    for row in store.read():
        payload = row.payload if isinstance(row.payload, bytes) else str(row.payload).encode()
        yield LivePayload(row.id, row.type, row.version, "outbox", payload)


def _refusal(it: LivePayload, registry: Registry) -> tuple[str, str] | None:
    """(field, problem) of what a worker would refuse the payload for."""
    entry = registry.find(it.type, it.version)
    if entry is None:
        return "(version)", "no handler and no upcaster for this version"
    try:
        entry.read(it.payload)
    except PayloadError as error:
        return error.problems[0]
    except Exception as error:  # a validator of the job's author can raise anything
        return "(body)", f"the contract raised {type(error).__name__}"
    return None
