"""`GET /v1/types`: what can be submitted, and what its payload must be."""

from typing import Annotated, Any

from fastapi import Path
from starlette.requests import Request
from starlette.responses import Response

from penstock.producers.gateway.answers import answer
from penstock.producers.gateway.caller import ACTIONS, Caller
from penstock.producers.gateway.catalogue import Catalogue, KnownType
from penstock.producers.gateway.gateway import Gateway
from penstock.producers.gateway.problems import not_found


class Kinds:
    """The types of the catalogue, as far as a caller has to do with them."""

    def __init__(self, gateway: Gateway) -> None:
        self._guard = gateway.guard
        self._catalogue = gateway.catalogue

    async def all(self, request: Request) -> Response:
        """List the types that these credentials may publish, read or cancel."""
        caller = await self._guard.caller_of(request)
        known = [name for name in self._catalogue if _concerns(caller, name)]
        return answer({"types": [type_document(self._catalogue, name) for name in known]})

    async def one(self, request: Request, name: Annotated[str, Path(alias="type")]) -> Response:
        """Show the versions of one type."""
        caller = await self._guard.caller_of(request)
        if not self._catalogue.versions(name) or not _concerns(caller, name):
            raise not_found("this gateway does not know the type, or not for these credentials; see GET /v1/types")
        return answer(type_document(self._catalogue, name))


def type_document(catalogue: Catalogue, name: str) -> dict[str, Any]:
    versions = catalogue.versions(name)
    return {"type": name, "versions": [_version(versions[number]) for number in sorted(versions)]}


def _version(known: KnownType) -> dict[str, Any]:
    contract = known.contract
    return {
        "version": contract.version,
        "queue": contract.queue,
        "max_attempts": contract.max_attempts,
        "timeout_seconds": contract.timeout_seconds,
        "guarantee": contract.guarantee,
        "unique_for_seconds": contract.unique_for.total_seconds(),
        "payload_schema": known.schema,
    }


def _concerns(caller: Caller, name: str) -> bool:
    return any(caller.may(action, name) for action in ACTIONS)
