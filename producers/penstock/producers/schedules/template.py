"""What the jobs of a schedule are made of."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from penstock.producers.schedules.sealing import owner_of
from penstock.schemas import ContractError, Job, Keyring, PayloadError
from penstock.schemas.sensitive import Seals


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """All of a schedule but its name and its timing. Sensitive fields are sealed for the schedule, see `sealing`."""

    type: str
    version: int
    queue: str
    payload: bytes
    tick_field: str | None = None
    at_most_once: bool = False
    unique_for: timedelta = timedelta(days=7)
    key_type: str | None = None

    @classmethod
    def of(cls, job: Job, *, name: str, tick_field: str | None, keyring: Keyring | None) -> "Template":
        """The template of a job that has a contract; raises `KeyringError` where it has secrets and nobody a key."""
        contract = job.contract()
        payload = job.to_body(Seals(keyring, owner_of(name)))
        return cls(
            type=contract.type,
            version=contract.version,
            queue=contract.queue,
            payload=payload if tick_field is None else _without(payload, tick_field),
            tick_field=tick_field,
            at_most_once=contract.guarantee == "at_most_once",
            unique_for=contract.unique_for,
            key_type=contract.key_type,
        )

    def columns(self) -> dict[str, Any]:
        return {
            "type": self.type,
            "version": self.version,
            "queue": self.queue,
            "payload": self.payload,
            "tick_field": self.tick_field,
            "at_most_once": self.at_most_once,
            "unique_seconds": int(self.unique_for.total_seconds()),
            "key_type": self.key_type,
        }


def at_tick(payload: bytes, tick_field: str | None, tick: datetime) -> bytes:
    """The payload with the time of the tick where the schedule wants it."""
    if tick_field is None:
        return payload
    return _written(json.loads(payload) | {tick_field: tick.astimezone(UTC).isoformat()})


def _without(payload: bytes, field: str) -> bytes:
    """What stands there before the first tick would only mislead whoever looks."""
    told = json.loads(payload)
    told.pop(field, None)
    return _written(told)


def _written(told: dict[str, Any]) -> bytes:
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()


def check_tick_field(job: Job, tick_field: str) -> None:
    """Raises `ContractError` unless the time of a tick can stand in this field."""
    name = type(job).__name__
    if tick_field not in type(job).model_fields:
        raise ContractError(f"tick_field={tick_field!r} is no field of {name}")
    if tick_field in job.__sensitive__:
        raise ContractError(f"tick_field={tick_field!r} is a sensitive field of {name}; a time is no secret")
    told = json.loads(job.clear_body() or b"{}")
    tick = json.dumps(told | {tick_field: datetime.now(UTC).isoformat()}).encode()
    try:
        job.from_body(tick, Seals(None, takes_clear=True))
    except PayloadError as error:
        raise ContractError(f"tick_field={tick_field!r} takes no time: {error}") from None
