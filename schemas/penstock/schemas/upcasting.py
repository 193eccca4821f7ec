"""Payloads of older versions become payloads of the newest one, a step at a time, on their way to the handler."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import pydantic_core

from penstock.schemas.errors import ContractError, PayloadError
from penstock.schemas.job import Job
from penstock.schemas.sensitive import Seals

Payload = dict[str, Any]
Upcast = Callable[[Payload], Payload]
J = TypeVar("J", bound=Job)


def upcaster(job_class: type[Job], *, from_version: int) -> Callable[[Upcast], Upcast]:
    """Declare a pure function that turns a payload of `from_version` into one of the version after it.

    ```python
    @upcaster(AddRow, from_version=1)
    def with_unit(payload: Payload) -> Payload:
        return payload | {"unit": "kg"}
    ```

    It gets the payload as JSON has it. Steps are chained up to the version of `job_class`. Raises `ContractError`.
    """
    contract = job_class.contract()
    if from_version.__class__ is not int or not 1 <= from_version < contract.version:
        raise ContractError(
            f"{contract.type}: from_version={from_version!r} must be an integer from 1 to {contract.version - 1}, "
            f"below the version of {job_class.__name__}"
        )

    def declare(upcast: Upcast) -> Upcast:
        if from_version in job_class.__upcasters__:
            raise ContractError(f"{contract.type}: two upcasters from version {from_version}: remove one")
        job_class.__upcasters__[from_version] = upcast
        return upcast

    return declare


def older_versions(job_class: type[Job]) -> range:
    """The versions that upcasters lead to that of `job_class`; raises `ContractError` where a link is missing."""
    contract = job_class.contract()
    declared = job_class.__upcasters__
    versions = range(min(declared, default=contract.version), contract.version)
    missing = [str(version) for version in versions if version not in declared]
    if missing:
        raise ContractError(
            f"{contract.type}: no upcaster from version {', '.join(missing)}, so that payloads of version "
            f"{versions[0]} never reach version {contract.version}: add @upcaster({job_class.__name__}, "
            f"from_version={missing[0]})"
        )
    return versions


def read_older(job_class: type[J], body: bytes, seals: Seals | None = None, *, version: int) -> J:
    """Read a payload of an older version; raises `PayloadError`, which tells of each step only that it failed."""
    contract = job_class.contract()
    payload: Payload = pydantic_core.from_json(body)
    for step in range(version, contract.version):
        try:
            payload = _checked(job_class.__upcasters__[step](payload))
        except Exception as error:
            problem = f"the upcaster from version {step} failed: {type(error).__name__}"
            raise PayloadError(contract.type, version, [("(body)", problem)]) from None
    try:
        # What an older version had in the clear may be sensitive by now.
        return job_class.from_body(pydantic_core.to_json(payload), replace(seals or Seals(None), takes_clear=True))
    except PayloadError as error:
        raise PayloadError(contract.type, version, error.problems, upcast_to=contract.version) from None


def _checked(payload: Any) -> Payload:
    if not isinstance(payload, dict):
        raise TypeError("an upcaster returns a dict")
    return payload
