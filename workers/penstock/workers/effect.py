"""One step with an effect outside the ledger: intent, stable key, outcome."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal

import pydantic_core

from penstock.ledger.effects import EffectState

if TYPE_CHECKING:
    from penstock.ledger.effects import Effect

RESULT_BYTES_MAX = 64 * 1024
STEP_LENGTH_MAX = 200

UnknownPolicy = Literal["retry_same_key", "ask_provider", "park"]
# Gets the step and its idempotency key; says whether the effect happened, or None if nobody can tell.
Ask = Callable[[str, str], bool | None]


@dataclass(frozen=True, slots=True)
class Unknown:
    """What a handler has declared for a step whose outcome a crash has left open. `ask` goes with `ask_provider`."""

    policy: UnknownPolicy = "retry_same_key"
    ask: Ask | None = None


class Resumption(Enum):
    """How a step goes on in this attempt."""

    DO = "do"
    DO_AGAIN = "do again"  # an earlier attempt may have done it, under the same key
    SKIP = "skip"
    ASK = "ask"
    PARK = "park"


def resume(known: EffectState | None, unknown: UnknownPolicy) -> Resumption:
    """Decide from what the ledger knows of the step, and what the handler has declared for what it does not know."""
    if known is EffectState.DONE:
        return Resumption.SKIP
    if known not in (EffectState.INTENDED, EffectState.REPLAYED):
        return Resumption.DO
    if unknown == "ask_provider":
        return Resumption.ASK
    is_parked = unknown == "park" and known is EffectState.INTENDED
    return Resumption.PARK if is_parked else Resumption.DO_AGAIN


def check_step(step: object, definite: object) -> None:
    """Before anything is noted or done; raises `ValueError`."""
    if not isinstance(step, str) or not 0 < len(step) <= STEP_LENGTH_MAX or not step.isprintable():
        raise ValueError(f"ctx.effect(step) needs a name, like 'send': printable, at most {STEP_LENGTH_MAX} characters")
    if not isinstance(definite, tuple) or not all(isinstance(it, type) for it in definite):
        raise ValueError("ctx.effect(definite=…) needs a tuple of exception classes, like (ConnectionRefusedError,)")


class EffectStep:
    """What a handler sees inside `with ctx.effect("send") as effect:`.

    `key` is the idempotency key for the provider: the same over all attempts of the job. `needed` is false when
    the ledger knows that the effect has happened; then `result` is what was noted with it. `repeated` tells that
    an earlier attempt may have had the effect already.
    """

    def __init__(self, key: str, *, needed: bool, repeated: bool, result: Any = None) -> None:
        self.key = key
        self.needed = needed
        self.repeated = repeated
        self._result = result
        self.happened: bool | None = None

    @property
    def result(self) -> Any:
        return self._result

    @result.setter
    def result(self, value: Any) -> None:
        """What to remember of it, such as the provider's message id; JSON of at most 64 KiB."""
        if len(pydantic_core.to_json(value)) > RESULT_BYTES_MAX:
            raise ValueError(f"effect.result has more than {RESULT_BYTES_MAX} bytes of JSON; keep a reference instead")
        self._result = value

    def not_done(self) -> None:
        """Say, before an exception leaves the block, that the effect surely did not happen."""
        self.happened = False


def known_result(effect: Effect) -> Any:
    """What was noted with an effect that is done."""
    return None if effect.result is None else pydantic_core.from_json(effect.result)
