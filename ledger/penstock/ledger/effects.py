"""External effects: the intent is durable before the effect, the outcome after it.

What lies between is not hidden: an intent without an outcome is `outcome unknown`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from penstock.ledger.completion import Fenced
from penstock.ledger.database import Session, Statement
from penstock.ledger.dialects import Columns


class EffectState(StrEnum):
    INTENDED = "intended"
    DONE = "done"
    NOT_DONE = "not_done"  # the provider said no, or we know that nothing was sent
    REPLAYED = "replayed"  # nobody knew; a person has looked, and wants it done under the same key


def intended(before: EffectState | None) -> EffectState:
    """What an intent makes of a step: open again only what surely has not happened, or what a person wants done."""
    return EffectState.INTENDED if before in (None, EffectState.NOT_DONE, EffectState.REPLAYED) else before


def replayed(before: EffectState | None) -> EffectState | None:
    """What a replay makes of a step: who replays has looked."""
    return EffectState.REPLAYED if before is EffectState.INTENDED else before


@dataclass(frozen=True, slots=True)
class Effect:
    """What the ledger knows of one step's effect before this attempt."""

    key: str
    state: EffectState | None  # None: never intended before
    result: bytes | None = None


def intend(session: Session, *, job_id: str, token: int, step: str, key: str) -> Effect:
    """Record the intent, fenced, and return what was known before; raises `Fenced`."""
    with session.transaction():
        if session.run(_HOLD, job_id=job_id, token=token).first() is None:
            raise Fenced(job_id)
        known = session.run(_READ, job_id=job_id, step=step).first()
        if known is None:
            session.run(_INTEND, job_id=job_id, step=step, key=key)
            return Effect(key, None)
        before = Effect(known.key, EffectState(known.state), None if known.result is None else bytes(known.result))
        if (state := intended(before.state)) is not before.state:
            session.run(_RECORD, job_id=job_id, step=step, state=state, result=None)
    return before


def replay_within(session: Session, job_ids: Sequence[str]) -> None:
    """A person replays these jobs: `replayed` for each of their steps. Part of the caller's transaction."""
    session.run(_REPLAY, [(job_id,) for job_id in job_ids])


def record_outcome(
    session: Session, *, job_id: str, token: int, step: str, state: EffectState, result: bytes | None = None
) -> None:
    """Record what became of it; raises `Fenced`, and `LookupError` for a step that was never intended."""
    with session.transaction():
        if session.run(_HOLD, job_id=job_id, token=token).first() is None:
            raise Fenced(job_id)
        if not session.run(_RECORD, job_id=job_id, step=step, state=state, result=result).rowcount:
            raise LookupError(f"step '{step}' of job {job_id} has no intent: call intend() before the effect")


_HOLD = Statement(
    lambda dialect: (
        f"""
        SELECT 1 FROM jobs WHERE id = :job_id AND token = :token AND state = 'executing' {dialect.for_update}
    """
    )
)

_READ = Statement(lambda _: "SELECT key, state, result FROM effects WHERE job_id = :job_id AND step = :step")

_INTEND = Statement(
    lambda dialect: (
        f"""
        INSERT INTO effects (job_id, step, key, state, intended_at)
        VALUES (:job_id, :step, :key, 'intended', {dialect.now})
    """
    )
)

_RECORD = Statement(
    lambda dialect: (
        f"""
        UPDATE effects SET state = :state, result = :result,
            done_at = CASE WHEN :state = 'intended' THEN NULL ELSE {dialect.now} END
        WHERE job_id = :job_id AND step = :step
    """
    )
)

_JOBS: Columns = {"job_id": "uuid"}

_REPLAY = Statement(
    lambda dialect: (
        f"""
        UPDATE effects SET state = 'replayed'
        WHERE state = 'intended' AND job_id IN (SELECT input.job_id FROM {dialect.rows("input", _JOBS)})
    """
    ),
    _JOBS,
)
