"""Effects outside of the ledger: intent, effect, record; and a handler's end, which each of them may be."""

from collections.abc import Iterator

from tests.model.doors import name
from tests.model.world import Model, Outcome, Phase, Slot, Step, World
from tests.model.writes import charged, counted, with_slot, with_step

from penstock.ledger.effects import EffectState
from penstock.ledger.transitions import holds
from penstock.workers.effect import Resumption


def intent_steps(model: Model, world: World, w: int, s: int, slot: Slot) -> Iterator[Step]:
    """The intent is fenced; what the ledger knew before decides how the step goes on."""
    j, protocol, policy = slot.job, model.protocol, model.jobs[slot.job].unknown
    if not holds(world.jobs[j].row, slot.token):
        yield Step(f"worker {w} may not intend the effect of {name(j)}: fenced", spent(world, w, s, slot))
        return
    known = world.jobs[j].step
    intended = with_step(world, j, protocol.intended(known))
    how = protocol.resume(known, policy)
    if how is Resumption.ASK and world.jobs[j].sent:
        yield finished(with_step(intended, j, EffectState.DONE), w, s, slot, Outcome.COMPLETE)
    elif how is Resumption.SKIP:
        yield finished(intended, w, s, slot, Outcome.COMPLETE)
    elif how is Resumption.PARK:
        yield finished(intended, w, s, slot, Outcome.BURY)
    else:
        ready = with_slot(intended, w, s, slot._replace(phase=Phase.INTENDED))
        yield Step(f"worker {w} intends the effect of {name(j)} ({how.value})", ready)


def effect_steps(model: Model, world: World, w: int, s: int, slot: Slot) -> Iterator[Step]:
    """The provider cannot see the fence."""
    j = slot.job
    happened = with_slot(counted(world, j, sent=1), w, s, slot._replace(phase=Phase.HAPPENED))
    yield Step(f"worker {w} has the effect of {name(j)}", happened)
    if refused := charged(world, "failures"):
        if holds(world.jobs[j].row, slot.token):
            refused = with_step(refused, j, EffectState.NOT_DONE)
        yield finished(refused, w, s, slot, Outcome.FAIL, promised=False)


def record_steps(model: Model, world: World, w: int, s: int, slot: Slot) -> Iterator[Step]:
    """Whoever lost the fence in between may not record it either."""
    j = slot.job
    if holds(world.jobs[j].row, slot.token):
        yield finished(with_step(world, j, EffectState.DONE), w, s, slot, Outcome.COMPLETE)
    else:
        yield Step(f"worker {w} may not record the effect of {name(j)}: fenced", spent(world, w, s, slot))
    if unsure := charged(world, "failures"):
        yield finished(unsure, w, s, slot, Outcome.FAIL, promised=False)


def finished(world: World, w: int, s: int, slot: Slot, outcome: Outcome, *, promised: bool = True) -> Step:
    """The handler has come to an end of its own."""
    ended = with_slot(world, w, s, slot._replace(phase=Phase.FINISHED, outcome=outcome))
    ended = counted(ended, slot.job, finishes=outcome is not Outcome.SNOOZE)
    label = f"the handler of {name(slot.job)} on worker {w} ends: {outcome.name.lower()}"
    return Step(label, ended, promised)


def spent(world: World, w: int, s: int, slot: Slot) -> World:
    """Nothing is left to do for this delivery but its ack."""
    return with_slot(world, w, s, Slot(slot.job, Phase.SPENT, unacked=True) if slot.unacked else None)
