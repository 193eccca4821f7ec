"""The workers: receive, claim, ack, run, settle; and what goes wrong at each step."""

from collections.abc import Callable, Iterator

from tests.model.doors import admitted, name
from tests.model.keepers import died
from tests.model.outside import effect_steps, finished, intent_steps, record_steps, spent
from tests.model.world import LATER, Life, Model, Outcome, Phase, Request, Slot, Step, Stray, Worker, World
from tests.model.writes import charged, counted, fresh_token, put, settled, with_copies, with_slot

from penstock.ledger.state import Reason
from penstock.ledger.transitions import Verdict, holds, is_due


def worker_steps(model: Model, world: World) -> Iterator[Step]:
    for w, worker in enumerate(world.workers):
        if worker.life is not Life.ALIVE:
            continue
        yield from _take(model, world, w, worker)
        for s, slot in enumerate(worker.slots):
            if slot is None:
                continue
            if slot.unacked and slot.phase not in (Phase.DELIVERED, Phase.UNSURE):
                acked = None if slot.phase is Phase.SPENT else slot._replace(unacked=False)
                yield Step(f"worker {w} acks {name(slot.job)}", with_slot(world, w, s, acked))
            act = _ACTS.get(slot.phase)
            if act is not None:
                yield from act(model, world, w, s, slot)


def _take(model: Model, world: World, w: int, worker: Worker) -> Iterator[Step]:
    if None not in worker.slots:
        return
    s = worker.slots.index(None)
    if model.lane and w == len(world.workers) - 1:
        yield from _take_suspect(model, world, w, s)
        return
    if w == 1 and _is_spare(world, 0) and _is_spare(world, 1):
        return  # two idle workers are alike: it is enough that the first one takes it
    for j, job in enumerate(world.jobs):
        if job.copies:
            slot = Slot(j, Phase.DELIVERED, unacked=not model.protocol.acks_before_claim)
            label = f"worker {w} receives {name(j)}" + ("" if slot.unacked else " and acks it")
            yield Step(label, with_copies(with_slot(world, w, s, slot), j, -1))


def _is_spare(world: World, w: int) -> bool:
    return (
        world.workers[w].life is Life.ALIVE
        and not any(world.workers[w].slots)
        and not any(job.process == w for job in world.jobs)
        and not any(stray.worker == w for stray in world.strays)
    )


def _take_suspect(model: Model, world: World, w: int, s: int) -> Iterator[Step]:
    """The suspect lane claims from the ledger, one job at a time."""
    if any(world.workers[w].slots):
        return
    for j, job in enumerate(world.jobs):
        row = job.row
        if row is not None and row.suspect and is_due(row, 0.0) and row.dispatched_at is None:
            token = fresh_token(world)
            claimed = put(world, j, model.protocol.claim(row, token=token), by="claim", process=w)
            slot = Slot(j, Phase.READY, token, alone=True)
            yield Step(f"worker {w} claims {name(j)} alone", with_slot(claimed, w, s, slot))
            if lost := charged(claimed, "lost_claims"):
                unsure = with_slot(lost, w, s, slot._replace(phase=Phase.UNSURE))
                yield Step(f"worker {w} claims {name(j)} alone, the answer is lost", unsure, promised=False)


def _claim(model: Model, world: World, w: int, s: int, slot: Slot) -> Iterator[Step]:
    j, token = slot.job, fresh_token(world)
    unsure = slot._replace(phase=Phase.UNSURE, token=token)
    after, verdict = admitted(model, world, j, token=token, startable=True, process=w)
    if verdict is Verdict.CLAIMED:
        ready = with_slot(after, w, s, slot._replace(phase=Phase.READY, token=token))
        yield Step(f"worker {w} claims {name(j)} under token {token}", ready)
    else:
        yield Step(f"worker {w} offers {name(j)}: {verdict.value}", spent(after, w, s, slot))
    if lost := charged(after, "lost_claims"):
        label = f"worker {w} claims {name(j)} under token {token}, the answer is lost"
        yield Step(label, with_slot(lost, w, s, unsure), promised=False)
    if sent := _strayed(world, Stray(Request.CLAIM, w, j, token)):
        label = f"worker {w} sends the claim of {name(j)} under token {token}, and hears nothing"
        yield Step(label, with_slot(sent, w, s, unsure), promised=False)
    if full := charged(world, "unstartable"):
        absorbed, verdict = admitted(model, full, j, token=token, startable=False)
        label = f"worker {w} cannot start {name(j)}: {verdict.value}"
        yield Step(label, spent(absorbed, w, s, slot), promised=False)


def _strayed(world: World, stray: Stray) -> World | None:
    sent = charged(world, "strays")
    return sent._replace(strays=(*sent.strays, stray)) if sent else None


def _ask_for_claim(model: Model, world: World, w: int, s: int, slot: Slot) -> Iterator[Step]:
    """After a lost answer: read back by token, or forget it all with the connection."""
    j = slot.job
    dropped = with_slot(world, w, s, None)
    dropped = with_copies(dropped, j, 1) if slot.unacked else dropped
    if holds(world.jobs[j].row, slot.token):
        ready = with_slot(world, w, s, slot._replace(phase=Phase.READY))
        yield Step(f"worker {w} reads back that {name(j)} is its own", ready)
        yield Step(f"worker {w} forgets about {name(j)}", dropped, promised=False)
    else:
        yield Step(f"worker {w} reads back that {name(j)} is not its own", dropped)


def _begin(model: Model, world: World, w: int, s: int, slot: Slot) -> Iterator[Step]:
    j, protocol = slot.job, model.protocol
    yield Step(f"worker {w} starts {name(j)}", _running(model, world, w, s, slot))
    row = world.jobs[j].row
    assert row is not None
    if after := charged(world, "handbacks"):
        released = protocol.release(row, token=slot.token, now=0.0)
        freed = settled(after, j, released, token=slot.token, by="release")
        yield Step(f"worker {w} hands {name(j)} back", spent(freed, w, s, slot), promised=False)
    if after := charged(world, "troubles"):
        freed = settled(after, j, protocol.trouble(row, token=slot.token, due_at=LATER), token=slot.token, by="trouble")
        yield Step(f"worker {w} has trouble before {name(j)}", spent(freed, w, s, slot), promised=False)


def _running(model: Model, world: World, w: int, s: int, slot: Slot) -> World:
    started = with_slot(world, w, s, slot._replace(phase=Phase.RUNNING))
    return counted(started, slot.job, starts=1) if model.jobs[slot.job].at_most_once else started


def _run(model: Model, world: World, w: int, s: int, slot: Slot) -> Iterator[Step]:
    j, spec, protocol = slot.job, model.jobs[slot.job], model.protocol
    if spec.guilty:
        yield Step(f"{name(j)} kills worker {w}", died(world, w, Life.DIED))
        return
    if spec.unknown is not None:
        yield from intent_steps(model, world, w, s, slot)
    elif spec.transactional:
        yield from _commit(model, world, w, s, slot)
    else:
        yield finished(world, w, s, slot, Outcome.COMPLETE)
    for fault, outcome in _CHOICES:
        if chosen := charged(world, fault):
            yield finished(chosen, w, s, slot, outcome, promised=False)
    row = world.jobs[j].row
    assert row is not None
    stopped = charged(world, "stops")
    if row.cancel_requested and holds(row, slot.token):
        stopped = stopped or world
    if stopped:
        given_up = protocol.interrupt(row, token=slot.token, now=0.0)
        freed = settled(stopped, j, given_up, token=slot.token, by="stop")
        yield Step(f"worker {w} stops {name(j)}", spent(freed, w, s, slot), promised=False)
    if after := charged(world, "troubles"):
        back = protocol.trouble(row, token=slot.token, due_at=LATER)
        troubled = settled(after, j, back, token=slot.token, by="trouble")
        yield Step(f"worker {w} has trouble with {name(j)}", spent(troubled, w, s, slot), promised=False)


_CHOICES = (("failures", Outcome.FAIL), ("burials", Outcome.BURY), ("snoozes", Outcome.SNOOZE))


def _commit(model: Model, world: World, w: int, s: int, slot: Slot) -> Iterator[Step]:
    """The handler's transaction: its effect and the completion, or neither."""
    j = slot.job
    committed, is_mine = _committed(model, world, j, slot.token)
    label = f"worker {w} commits {name(j)} under token {slot.token}" + ("" if is_mine else ": fenced")
    yield Step(label, spent(committed, w, s, slot))
    unsure = slot._replace(phase=Phase.COMMITTING)
    if lost := charged(committed, "lost_settles"):
        yield Step(f"{label}, the answer is lost", with_slot(lost, w, s, unsure), promised=False)
    if sent := _strayed(world, Stray(Request.COMMIT, w, j, slot.token)):
        label = f"worker {w} sends the commit of {name(j)}, and hears nothing"
        yield Step(label, with_slot(sent, w, s, unsure), promised=False)


def _committed(model: Model, world: World, j: int, token: int) -> tuple[World, bool]:
    row = world.jobs[j].row
    assert row is not None
    completed = model.protocol.complete(row, token=token)
    if completed is row:
        return world, False
    return settled(counted(world, j, effects=1, finishes=1), j, completed, token=token, by="complete"), True


def _ask_for_commit(model: Model, world: World, w: int, s: int, slot: Slot) -> Iterator[Step]:
    """Completed with my token: done. Executing with my token: again, under the same claim. Else: fenced."""
    j, row = slot.job, world.jobs[slot.job].row
    assert row is not None
    if not holds(row, slot.token):
        yield Step(f"worker {w} reads back that {name(j)} is over or fenced", spent(world, w, s, slot))
    elif model.jobs[j].at_most_once:
        freed = model.protocol.interrupt(row, token=slot.token, now=0.0)
        given_up = settled(world, j, freed, token=slot.token, by="interrupt")
        yield Step(f"worker {w} does not know what became of {name(j)}", spent(given_up, w, s, slot))
    else:
        yield Step(f"worker {w} runs {name(j)} again under the same claim", _running(model, world, w, s, slot))


def _settle(model: Model, world: World, w: int, s: int, slot: Slot) -> Iterator[Step]:
    j = slot.job
    after = _outcome_settled(model, world, j, slot.token, slot.outcome)
    yield Step(f"worker {w} settles {name(j)} under token {slot.token}", spent(after, w, s, slot))
    if lost := charged(after, "lost_settles"):
        yield Step(f"worker {w} settles {name(j)}, the answer is lost", lost, promised=False)
    if sent := _strayed(world, Stray(Request.SETTLE, w, j, slot.token, slot.outcome)):
        yield Step(f"worker {w} sends the outcome of {name(j)}, and hears nothing", sent, promised=False)


def _outcome_settled(model: Model, world: World, j: int, token: int, outcome: Outcome) -> World:
    row, protocol = world.jobs[j].row, model.protocol
    assert row is not None
    if outcome is Outcome.COMPLETE:
        after, by = protocol.complete(row, token=token), "complete"
    elif outcome is Outcome.SNOOZE:
        after, by = protocol.snooze(row, token=token, due_at=LATER), "snooze"
    elif outcome is Outcome.BURY:
        after, by = protocol.bury(row, token=token, reason=Reason.PERMANENT), "bury"
    else:
        after, by = protocol.fail(row, token=token, retry_at=LATER), "fail"
    return settled(world, j, after, token=token, by=by)


def stray_steps(model: Model, world: World) -> Iterator[Step]:
    """The database executes, late, what its sender has given up, or never does."""
    for i, stray in enumerate(world.strays):
        j = stray.job
        rest = world._replace(strays=(*world.strays[:i], *world.strays[i + 1 :]))
        yield Step(f"the stray {stray.request.name.lower()} of {name(j)} is lost", rest, promised=False)
        if stray.request is Request.CLAIM:
            after, _ = admitted(model, rest, j, token=stray.token, startable=True, process=stray.worker)
        elif stray.request is Request.COMMIT:
            after, _ = _committed(model, rest, j, stray.token)
        else:
            after = _outcome_settled(model, rest, j, stray.token, stray.outcome)
        label = f"the stray {stray.request.name.lower()} of {name(j)} under token {stray.token} is executed"
        yield Step(label, after, promised=False)


_Act = Callable[[Model, World, int, int, Slot], Iterator[Step]]

_ACTS: dict[Phase, _Act] = {
    Phase.DELIVERED: _claim,
    Phase.UNSURE: _ask_for_claim,
    Phase.READY: _begin,
    Phase.RUNNING: _run,
    Phase.COMMITTING: _ask_for_commit,
    Phase.FINISHED: _settle,
    Phase.INTENDED: effect_steps,
    Phase.HAPPENED: record_steps,
}
