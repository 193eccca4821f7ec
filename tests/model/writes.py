"""How a step changes a world: every write of a row is judged here."""

from dataclasses import replace
from typing import TypeVar

from tests.model.properties import STALE_TOKEN, broken_by
from tests.model.world import NOBODY, Slot, World

from penstock.ledger.effects import EffectState
from penstock.ledger.state import State
from penstock.ledger.transitions import Row, holds

_Item = TypeVar("_Item")


def replaced(items: tuple[_Item, ...], index: int, item: _Item) -> tuple[_Item, ...]:
    return (*items[:index], item, *items[index + 1 :])


def charged(world: World, fault: str) -> World | None:
    """The world with one fault less to spend, or None if its budget is used up."""
    left: int = getattr(world.budget, fault)
    return world._replace(budget=world.budget._replace(**{fault: left - 1})) if left else None


def fresh_token(world: World) -> int:
    """The smallest token that nothing in this world remembers: tokens are only compared."""
    used = {job.row.token for job in world.jobs if job.row is not None}
    used.update(slot.token for worker in world.workers for slot in worker.slots if slot is not None)
    used.update(stray.token for stray in world.strays)
    return next(token for token in range(1, 100) if token not in used)


def put(world: World, j: int, row: Row, *, by: str, process: int = NOBODY) -> World:
    """Write a row, and judge the step: `by` is the event that did it."""
    job = world.jobs[j]
    broken = world.broken or (broken_by(job.row, row, by) if job.row is not None else "")
    if row.state is not State.EXECUTING:
        process = NOBODY
    jobs = replaced(world.jobs, j, job._replace(row=row, process=process))
    return world._replace(jobs=jobs, broken=broken)


def settled(world: World, j: int, row: Row, *, token: int, by: str) -> World:
    """Write what a settle under `token` made of the row. A row that it left alone stays."""
    before = world.jobs[j].row
    if row is before:
        return world
    if not holds(before, token):
        world = world._replace(broken=world.broken or STALE_TOKEN)
    return put(world, j, row, by=by, process=world.jobs[j].process)


def counted(world: World, j: int, **ghosts: int) -> World:
    """Raise ghost counts of a job; three is as bad as two."""
    job = world.jobs[j]
    raised = {name: min(getattr(job, name) + more, 3) for name, more in ghosts.items()}
    return world._replace(jobs=replaced(world.jobs, j, job._replace(**raised)))


def with_step(world: World, j: int, step: EffectState | None) -> World:
    """Write what the ledger knows of a job's external effect."""
    return world._replace(jobs=replaced(world.jobs, j, world.jobs[j]._replace(step=step)))


def with_slot(world: World, w: int, s: int, slot: Slot | None) -> World:
    worker = world.workers[w]
    workers = replaced(world.workers, w, worker._replace(slots=replaced(worker.slots, s, slot)))
    return world._replace(workers=workers)


def with_copies(world: World, j: int, more: int) -> World:
    job = world.jobs[j]
    return world._replace(jobs=replaced(world.jobs, j, job._replace(copies=job.copies + more)))


def canonical(world: World) -> World:
    """Rank the dispatch numbers of each job: they are only compared, and the row has the highest."""
    for j, job in enumerate(world.jobs):
        if job.row is None:
            continue
        numbers = {job.row.dispatch_number}
        numbers.update(d.seen.dispatch_number for d in world.dispatchers if d is not None and d.job == j)
        if max(numbers) == len(numbers) - 1:
            continue
        rank = {number: place for place, number in enumerate(sorted(numbers))}
        row = replace(job.row, dispatch_number=rank[job.row.dispatch_number])
        world = world._replace(
            jobs=replaced(world.jobs, j, job._replace(row=row)),
            dispatchers=tuple(
                d._replace(seen=replace(d.seen, dispatch_number=rank[d.seen.dispatch_number]))
                if d is not None and d.job == j
                else d
                for d in world.dispatchers
            ),
        )
    return world
