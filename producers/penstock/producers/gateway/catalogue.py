"""The job types that a gateway knows, and their contracts."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from penstock.ledger.admission import Offer, offer
from penstock.ledger.state import State
from penstock.producers.gateway.problems import Problem, invalid
from penstock.producers.gateway.submission import Order
from penstock.schemas import Contract, Job, Keyring, Message, PayloadError, UnreadableMessage
from penstock.schemas.identifiers import new_job_id

APP_ID = "penstock-gateway"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownType:
    """One version of a type. `read` raises `PayloadError`; `schema` is the JSON Schema of its payload."""

    contract: Contract
    schema: Mapping[str, Any]
    read: Callable[[bytes], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """What the request itself, and not its body, says about a job."""

    tenant: str | None = None
    app_id: str = APP_ID
    traceparent: str | None = None


class Catalogue:
    """All known types, by name and version. `keyring` seals their sensitive fields."""

    def __init__(self, types: Iterable[KnownType], *, keyring: Keyring | None = None) -> None:
        self.keyring = keyring
        self._types: dict[str, dict[int, KnownType]] = {}
        self._names: dict[str, str] = {}
        for it in types:
            self._types.setdefault(it.contract.type, {})[it.contract.version] = it
            self._names |= dict.fromkeys(it.contract.names, it.contract.type)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._types))

    def versions(self, name: str) -> Mapping[int, KnownType]:
        """The versions of a type, also by a name that it had before; none if it is not known."""
        return self._types.get(self._names.get(name, name), {})

    def find(self, name: str, version: int | None) -> KnownType:
        """The version asked for, else the newest; raises `Problem`."""
        versions = self.versions(name)
        if not versions:
            raise invalid([("type", "this gateway does not know it; GET /v1/types has those that it knows")])
        if version is None:
            return versions[max(versions)]
        if version not in versions:
            raise invalid(
                [("version", f"known are {', '.join(map(str, sorted(versions)))}; leave it out for the newest")]
            )
        return versions[version]


def offer_of(order: Order, known: KnownType, sender: Sender, *, key: str | None, keyring: Keyring | None) -> Offer:
    """The job as the ledger is offered it, under a new id; raises `Problem` where the payload does not fit."""
    payload = read_payload(order.payload, known)
    due_at = order.due_at(datetime.now(UTC))
    about: dict[str, Any] = {
        "key": key,
        "due_at": due_at,
        "tenant": sender.tenant,
        "correlation_id": order.submission.correlation_id,
        "traceparent": sender.traceparent,
        "app_id": sender.app_id,
    }
    if isinstance(payload, Job) and payload.__sensitive__:
        message = _sealed(payload, about, keyring)
    else:
        contract = known.contract
        message = Message(id=new_job_id(), type=contract.type, version=contract.version, body=order.payload, **about)
    return offer(message, known.contract, state=State.AVAILABLE if due_at is None else State.SCHEDULED)


def _sealed(job: Job, about: dict[str, Any], keyring: Keyring | None) -> Message:
    """Nothing but its handler may see the sensitive fields of a job."""
    if job.clear_body() is None:
        raise invalid([("payload", "holds a sealed value, which is bound to another job: send it in the clear")])
    try:
        return Message.of(job, keyring=keyring, **about)
    except UnreadableMessage as error:
        raise invalid([("payload", str(error).removeprefix("body "))]) from None


def read_payload(payload: bytes, known: KnownType) -> object:
    """Raises `Problem` that names the fields of a payload which does not fit its contract."""
    try:
        return known.read(payload)
    except PayloadError as error:
        raise _misfit(error, known) from None


def _misfit(error: PayloadError, known: KnownType) -> Problem:
    return invalid([(f"payload.{field}" if field != "(body)" else "payload", said) for field, said in error.problems])
