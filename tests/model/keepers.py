"""Who keeps the ledger's promises: dispatcher, supervisor, rescuer, the self-check, the finder of lost messages."""

from collections.abc import Iterator
from dataclasses import replace

from tests.model.doors import name
from tests.model.properties import is_with_broker
from tests.model.world import COPIES_MAX, GONE, Life, Model, Phase, Selected, Slot, Step, Worker, World
from tests.model.writes import charged, counted, put, replaced, settled, with_copies

from penstock.ledger.state import WAITING, State
from penstock.ledger.transitions import Death, Row, is_due

RUNS = frozenset({Phase.RUNNING, Phase.COMMITTING, Phase.INTENDED, Phase.HAPPENED})


def dispatcher_steps(model: Model, world: World) -> Iterator[Step]:
    if not model.protocol.dispatches:
        return
    for d, selected in enumerate(world.dispatchers):
        if selected is None:
            yield from _select(world, d)
            continue
        j, who = selected.job, f"dispatcher {d}" if model.dispatchers > 1 else "dispatcher"
        idle = world._replace(dispatchers=replaced(world.dispatchers, d, None))
        if selected.published:
            row = world.jobs[j].row
            assert row is not None
            marked = model.protocol.mark_dispatched(row, seen=selected.seen, now=0.0)
            after = idle if marked is row else put(idle, j, marked, by="mark", process=world.jobs[j].process)
            yield Step(f"{who} {'marks' if marked is not row else 'does not mark'} {name(j)}", after)
        elif world.jobs[j].copies < COPIES_MAX:
            published = replaced(world.dispatchers, d, selected._replace(published=True))
            yield Step(f"{who} publishes {name(j)}", with_copies(world._replace(dispatchers=published), j, 1))
        if crashed := charged(idle, "dispatcher_crashes"):
            yield Step(f"{who} crashes", crashed, promised=False)


def _select(world: World, d: int) -> Iterator[Step]:
    for j, job in enumerate(world.jobs):
        row = job.row
        if row is not None and is_due(row, 0.0) and row.dispatched_at is None and not row.suspect:
            selected = replaced(world.dispatchers, d, Selected(j, row))
            yield Step(f"dispatcher selects {name(j)}", world._replace(dispatchers=selected))


def keeper_steps(model: Model, world: World) -> Iterator[Step]:
    for j, job in enumerate(world.jobs):
        row = job.row
        if row is None:
            continue
        if row.state is State.EXECUTING:
            yield from _rescue(model, world, j, row)
        elif row.state in WAITING and row.due_at > 0:
            yield Step(f"{name(j)} becomes due", put(world, j, replace(row, due_at=0.0), by="clock"))
        if model.suspicion and row.state in WAITING and row.dispatched_at is not None and not is_with_broker(world, j):
            found = put(world, j, model.protocol.suspect_lost(row), by="suspicion")
            yield Step(f"the message of {name(j)} is suspected lost", found)
    for w, worker in enumerate(world.workers):
        if worker.life is not Life.ALIVE and not any(job.process == w for job in world.jobs):
            yield Step(f"worker {w} starts again", _restarted(world, w))


def _rescue(model: Model, world: World, j: int, row: Row) -> Iterator[Step]:
    """Whoever must free an executing row whose claim nobody works on; and who frees one too early."""
    protocol, process, token = model.protocol, world.jobs[j].process, row.token
    assert token is not None
    if process == GONE or world.workers[process].life is Life.VANISHED:
        if not protocol.frees_orphans:
            return
        lost = protocol.lose(row, token=token, now=0.0)
        yield Step(f"rescuer frees {name(j)}", settled(world, j, lost, token=token, by="lose"))
        return
    worker = world.workers[process]
    if worker.life is not Life.ALIVE:
        yield _blame(model, world, j, row, worker)
        return
    held = {slot.token for slot in worker.slots if slot is not None}
    if protocol.checks_itself and token not in held:
        freed = protocol.release(row, token=token, now=0.0)
        after = settled(world, j, freed, token=token, by="release")
        yield Step(f"worker {process} finds that it does not hold {name(j)}", after)
    if early := charged(world, "early_rescues"):
        lost = protocol.lose(row, token=token, now=0.0)
        after = settled(early, j, lost, token=token, by="lose")
        yield Step(f"rescuer frees {name(j)} too early (worker {process} is paused)", after, promised=False)


def _blame(model: Model, world: World, j: int, row: Row, worker: Worker) -> Step:
    """The supervisor reads the dead worker's file: what ran is blamed, what had ended or not begun is not."""
    protocol, token = model.protocol, row.token
    assert token is not None
    slot = next((slot for slot in worker.slots if slot is not None and slot.token == token), None)
    phase = slot.phase if slot is not None else None
    if slot is not None and phase in RUNS:
        death = Death.OWN_DOING if worker.life is Life.DIED else Death.KILLED
        crashed = protocol.crash(row, token=token, now=0.0, death=death, alone=slot.alone)
        # A death by a SIGKILL is the guilty handler's too where that handler caused it, which the model never does.
        by = "guilty crash" if model.jobs[j].guilty and worker.life is Life.DIED else "crash"
        where = "alone" if slot.alone else "beside others"
        label = f"supervisor: {name(j)} ran {where} when the worker died"
        return Step(label, settled(world, j, crashed, token=token, by=by))
    if phase is Phase.FINISHED:
        freed = protocol.interrupt(row, token=token, now=0.0)
        label = f"supervisor: the outcome of {name(j)} died with the worker"
        return Step(label, settled(world, j, freed, token=token, by="interrupt"))
    freed = protocol.release(row, token=token, now=0.0)
    return Step(f"supervisor: {name(j)} had not started", settled(world, j, freed, token=token, by="release"))


def _restarted(world: World, w: int) -> World:
    """A new process in the same place; what the old one has sent belongs to nobody."""
    slots: tuple[Slot | None, ...] = (None,) * len(world.workers[w].slots)
    strays = tuple(stray._replace(worker=GONE) if stray.worker == w else stray for stray in world.strays)
    return world._replace(workers=replaced(world.workers, w, Worker(Life.ALIVE, slots)), strays=strays)


def died(world: World, w: int, life: Life) -> World:
    """The worker dies: its channel closes, its file stays."""
    worker = world.workers[w]
    for slot in worker.slots:
        if slot is not None and slot.unacked:
            world = with_copies(world, slot.job, 1)
    noted = tuple(
        slot._replace(unacked=False)
        if slot is not None and slot.phase in {Phase.READY, Phase.FINISHED, *RUNS}
        else None
        for slot in worker.slots
    )
    for slot in noted:
        if life is Life.DIED and slot is not None and slot.phase is Phase.RUNNING:
            world = counted(world, slot.job, finishes=1)
    return world._replace(workers=replaced(world.workers, w, Worker(life, noted)))


def death_steps(model: Model, world: World) -> Iterator[Step]:
    for w, worker in enumerate(world.workers):
        if worker.life is not Life.ALIVE:
            continue
        is_busy = any(slot is not None for slot in worker.slots) or any(job.process == w for job in world.jobs)
        if is_busy and (killed := charged(world, "crashes")):
            yield Step(f"worker {w} is killed", died(killed, w, Life.KILLED), promised=False)
        if is_busy and (vanished := charged(world, "vanishes")):
            yield Step(f"worker {w} vanishes with its host", died(vanished, w, Life.VANISHED), promised=False)
