"""Secrets in schedules. A sealed value opens for one job and field only, and a schedule has no job before its tick.

So at rest it is sealed for the schedule, which no worker takes for a job; whoever fires the tick opens it, and seals it
for the job that comes out. That takes a keyring where ticks are fired, and nothing in the clear is ever written.
"""

import json
from typing import Any

import pydantic_core

from penstock.schemas import Keyring, KeyringError
from penstock.schemas.keyring import SealBroken, UnknownKey, read_header


def owner_of(name: str) -> str:
    """What stands in a seal in place of a job id."""
    return f"schedule:{name}"


def sealed_for_job(
    payload: bytes, *, name: str, job_id: str, key: str | None, keyring: Keyring | None
) -> tuple[bytes, str | None]:
    """(payload, payload hash) for one job, with what was sealed for the schedule sealed for that job.

    The hash is what tells two of them apart under one dedup key; None where nothing is sealed. Raises `KeyringError`,
    which names the schedule and the field.
    """
    told: dict[str, Any] = json.loads(payload)
    clear = {
        field: _open(it, name=name, field=field, keyring=keyring) for field, it in told.items() if _is_of(name, it)
    }
    if not clear or keyring is None:
        return payload, None
    sealed = {
        field: keyring.seal(pydantic_core.to_json(value), job_id=job_id, field=field) for field, value in clear.items()
    }
    payload_hash = None if key is None else keyring.digests(pydantic_core.to_json(told | clear), key=key)
    return pydantic_core.to_json(told | sealed), payload_hash


def _is_of(name: str, value: Any) -> bool:
    header = read_header(value) if isinstance(value, str) else None
    return header is not None and header.get("job") == owner_of(name)


def _open(text: str, *, name: str, field: str, keyring: Keyring | None) -> Any:
    if keyring is None:
        raise KeyringError(
            f"schedule {name}: field {field!r} is sealed, and must be sealed for each job: set PENSTOCK_KEYRING where "
            "ticks fire"
        )
    try:
        return pydantic_core.from_json(keyring.open(text, job_id=owner_of(name), field=field))
    except (UnknownKey, SealBroken) as error:
        raise KeyringError(f"schedule {name}: field {field!r}: {error}") from None
