"""Our Dramatiq broker: actors are declared on it, and what they `send` becomes a job."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

import dramatiq
import dramatiq.errors
from dramatiq.middleware import Middleware

from penstock.schemas import Backoff, Bury, Contract, Retry
from penstock.schemas.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.schemas import Job

DEFAULT_MAX_RETRIES = 20
DEFAULT_TIME_LIMIT_MS = 600_000
RETRIES_MAX = 999
TIME_LIMIT_SECONDS_MAX = 7 * 86_400.0


class Outlet(Protocol):
    """Where the broker puts what actors send: `Producer` and `LedgerProducer` both fit."""

    def publish_message(self, message: Message, *, queue: str) -> object: ...


class ActorOptions(Middleware):
    """Accepts the options of Dramatiq's `Retries` and `TimeLimit`, which the engine carries out."""

    @property
    def actor_options(self) -> set[str]:
        return {"max_retries", "min_backoff", "max_backoff", "throws", "time_limit", "retry_when"}


class PenstockBroker(dramatiq.Broker):
    """Dramatiq's broker interface over Penstock.

    Middleware may be added as on any other broker; its hooks are called where it overrides them. There is no
    `consume`: the engine claims from the ledger and runs actors itself, because hooks that raise are swallowed
    by Dramatiq's worker, and a failed claim would still run.
    """

    def __init__(self, outlet: Outlet | None = None, middleware: list[Middleware] | None = None) -> None:
        super().__init__(middleware=[ActorOptions(), *(middleware or [])])
        self.queues: set[str] = set()
        self.outlet = outlet

    def declare_queue(self, queue_name: str) -> None:
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)

    def get_declared_queues(self) -> set[str]:
        return set(self.queues)

    def enqueue(self, message: dramatiq.Message[Any], *, delay: int | None = None) -> dramatiq.Message[Any]:
        """Publish what an actor sends, durably; `delay` is in milliseconds. Raises what the outlet raises."""
        if self.outlet is None:
            raise RuntimeError(
                f"{message.actor_name}.send() has nowhere to go: give PenstockBroker an outlet, "
                "such as Producer(url) or LedgerProducer(url)"
            )
        body = json.dumps(
            {"args": message.args, "kwargs": message.kwargs, "options": message.options}, separators=(",", ":")
        ).encode()
        job = Message.raw(
            type=message.actor_name,
            body=body,
            due_at=None if not delay else datetime.now(UTC) + timedelta(milliseconds=delay),
        )
        sent = message.copy(message_id=job.id) if message.message_id != job.id else message
        self.emit_before("enqueue", sent, delay)
        self.outlet.publish_message(job, queue=message.queue_name)
        self.emit_after("enqueue", sent, delay)
        return sent

    def close(self) -> None:
        close = getattr(self.outlet, "close", None)
        if close is not None:
            close()


def contract_of_actor(actor: dramatiq.Actor[Any, Any]) -> Contract:
    """The contract that an actor's options amount to."""
    options = actor.options
    max_retries = options.get("max_retries", DEFAULT_MAX_RETRIES)
    retry_when = options.get("retry_when")
    without_bound = max_retries is None or retry_when is not None
    throws = options.get("throws") or ()
    return Contract(
        type=actor.actor_name,
        queue=actor.queue_name,
        max_attempts=1 + (RETRIES_MAX if without_bound else min(max_retries, RETRIES_MAX)),
        timeout_seconds=min((options.get("time_limit") or DEFAULT_TIME_LIMIT_MS) / 1000, TIME_LIMIT_SECONDS_MAX),
        retry=ActorRetries(
            Backoff(
                base_seconds=options.get("min_backoff", 15_000) / 1000,
                cap_seconds=options.get("max_backoff", 7 * 86_400_000) / 1000,
            ),
            retry_when,
        ),
        permanent=throws if isinstance(throws, tuple) else (throws,),
    )


@dataclass(frozen=True, slots=True)
class ActorRetries:
    """What Dramatiq's `Retries` decides: `retry_when` instead of a bound, and the delay of a raised `Retry`."""

    backoff: Backoff
    retry_when: Callable[[int, BaseException], bool] | None = None

    def decide(self, attempt: int, error: BaseException) -> Retry | Bury:
        if self.retry_when is not None and not self.retry_when(attempt - 1, error):
            return Bury("attempts")
        if isinstance(error, dramatiq.errors.Retry) and error.delay is not None:
            return Retry(error.delay / 1000)
        return self.backoff.decide(attempt, error)


def envelope(actor: dramatiq.Actor[Any, Any], job_id: str, payload: Job | tuple[list[Any], dict[str, Any]]) -> Any:
    """The message that Dramatiq middleware gets to see."""
    args: tuple[Any, ...]
    if isinstance(payload, tuple):
        args, kwargs = tuple(payload[0]), payload[1]
    else:
        args, kwargs = (payload.model_dump(mode="json"),), {}
    message: dramatiq.Message[Any] = dramatiq.Message(
        queue_name=actor.queue_name,
        actor_name=actor.actor_name,
        args=args,
        kwargs=kwargs,
        options={},
        message_id=job_id,
    )
    return (
        dramatiq.MessageProxy(message) if hasattr(dramatiq, "MessageProxy") else dramatiq.broker.MessageProxy(message)
    )
