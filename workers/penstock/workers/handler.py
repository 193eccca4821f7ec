"""`@handler` tags a function as the handler of a job; a `Registry` collects the tagged ones at start."""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from penstock.schemas import ContractError, Job
from penstock.workers.effect import Ask, Unknown, UnknownPolicy

if TYPE_CHECKING:
    from penstock.workers.context import Context

J = TypeVar("J", bound=Job)
TAG = "__penstock_handler__"


@dataclass(frozen=True, slots=True)
class HandlerTag:
    """What `@handler` notes on a function."""

    job_class: type[Job]
    unknown: Unknown


def handler(
    job_class: type[J], *, unknown: UnknownPolicy = "retry_same_key", ask: Ask | None = None
) -> Callable[[Callable[[J, "Context"], None | Awaitable[None]]], Callable[[J, "Context"], None | Awaitable[None]]]:
    """Make a function, plain or `async`, the handler of `job_class`. It stays callable as it is.

    `unknown` settles an external effect whose outcome a crash has left open: run the step again under the same
    idempotency key, ask the provider (`ask(step, key) -> True | False | None`), or park the job as a dead
    letter. Raises `ContractError`.
    """
    if not (isinstance(job_class, type) and issubclass(job_class, Job)):
        raise ContractError("@handler needs a Job class: write @handler(AddRow) above the function")
    contract = job_class.contract()
    if unknown not in ("retry_same_key", "ask_provider", "park"):
        raise ContractError(
            f"{contract.type}: unknown={unknown!r} is no policy; use 'retry_same_key', 'ask_provider' or 'park'"
        )
    if (unknown == "ask_provider") != (ask is not None):
        raise ContractError(f"{contract.type}: unknown='ask_provider' and ask=function belong together")

    def tag(function: Callable[[J, "Context"], Any]) -> Callable[[J, "Context"], Any]:
        if not inspect.isfunction(function):
            raise ContractError(f"@handler({job_class.__name__}) must stand above a function, not {function!r}")
        if len(inspect.signature(function).parameters) != 2:
            raise ContractError(f"{function.__qualname__} must take two arguments: (job, ctx)")
        setattr(function, TAG, HandlerTag(job_class, Unknown(unknown, ask)))
        return function

    return tag
