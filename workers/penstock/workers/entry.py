"""What the engine knows of one job type: its contract, how to read its payload, and the function to run."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from dramatiq.asyncio import async_to_sync

from penstock.schemas import PayloadError
from penstock.schemas.upcasting import older_versions, read_older
from penstock.workers.effect import Unknown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    import dramatiq

    from penstock.schemas import Contract, Job
    from penstock.schemas.sensitive import Seals
    from penstock.workers.context import Context


async def _nothing() -> None:
    """To see what Dramatiq makes of a coroutine function; others may have decorated theirs in ways of their own."""


_DRAMATIQ_WRAPPER = async_to_sync(_nothing).__code__


class Read(Protocol):
    """Reads a payload; with `seals` it also opens what is sealed. Raises `PayloadError` and `UnknownKey`."""

    def __call__(self, body: bytes, seals: Seals | None = None, /) -> Any: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """One type and version. `read` raises `PayloadError`; `call` gets what it returns, and the context.

    `job_class` is None for an actor; `sensitive` names the fields that nobody but the handler may see.
    """

    contract: Contract
    actor: dramatiq.Actor[Any, Any]
    read: Read
    call: Callable[[Any, Context], Any]
    is_async: bool = False
    unknown: Unknown = field(default_factory=Unknown)
    job_class: type[Job] | None = None
    sensitive: frozenset[str] = frozenset()

    def older(self) -> Iterator[tuple[int, Entry]]:
        """The same for payloads of each older version that upcasters lead here; raises `ContractError`."""
        if (job_class := self.job_class) is None:
            return
        for version in older_versions(job_class):
            yield version, replace(self, read=partial(read_older, job_class, version=version))


def handler_entry(
    job_class: type[Job],
    function: Callable[[Any, Context], Awaitable[None] | None],
    *,
    actor: dramatiq.Actor[Any, Any],
    is_async: bool,
    unknown: Unknown,
) -> Entry:
    """A function that was tagged with `@handler`."""
    return Entry(
        contract=job_class.contract(),
        actor=actor,
        read=job_class.from_body,
        call=function,
        is_async=is_async,
        unknown=unknown,
        job_class=job_class,
        sensitive=job_class.__sensitive__,
    )


def actor_entry(actor: dramatiq.Actor[Any, Any], contract: Contract) -> Entry:
    """A plain Dramatiq actor: its arguments are the payload. Dramatiq has wrapped a coroutine; we run it ourselves."""
    is_async = getattr(actor.fn, "__code__", None) is _DRAMATIQ_WRAPPER
    function: Callable[..., Any] = actor.fn.__wrapped__ if is_async else actor.fn  # type: ignore[attr-defined]

    def read(body: bytes, _: Seals | None = None, /) -> tuple[list[Any], dict[str, Any]]:
        payload = json.loads(body)
        args, kwargs = payload.get("args", []), payload.get("kwargs", {})
        if not isinstance(args, list):
            raise PayloadError(contract.type, contract.version, [("args", "must be a list")])
        if not isinstance(kwargs, dict):
            raise PayloadError(contract.type, contract.version, [("kwargs", "must be an object")])
        return args, kwargs

    def call(payload: tuple[list[Any], dict[str, Any]], ctx: Context) -> Any:
        args, kwargs = payload
        return function(*args, **kwargs)

    return Entry(contract=contract, actor=actor, read=read, call=call, is_async=is_async)
