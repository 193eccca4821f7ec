"""Where jobs come in and wait: producers, the broker's queue, the admission to the ledger, operators."""

from collections.abc import Iterator

from tests.model.world import LATER, NOBODY, Job, Model, Phase, Receipt, Step, World
from tests.model.writes import charged, put, replaced, with_copies

from penstock.ledger.dedup import KeyVerdict
from penstock.ledger.state import Reason, State
from penstock.ledger.transitions import Row, Verdict


def producer_steps(model: Model, world: World) -> Iterator[Step]:
    for j, job in enumerate(world.jobs):
        if job.receipt not in (Receipt.NONE, Receipt.UNKNOWN):
            continue
        if model.jobs[j].accepted_by_ledger:
            yield from _accept(model, world, j)
        else:
            yield from _publish(world, j)


def _publish(world: World, j: int) -> Iterator[Step]:
    published = with_copies(world, j, 1)
    yield Step(f"producer publishes {name(j)}, confirmed", _answered(published, j, Receipt.GIVEN))
    if unsure := charged(world, "unknown_confirms"):
        unsure = _answered(unsure, j, Receipt.UNKNOWN)
        yield Step(f"producer publishes {name(j)}, the confirm is lost", with_copies(unsure, j, 1), promised=False)
        yield Step(f"producer publishes {name(j)}, the message is lost", unsure, promised=False)


def _accept(model: Model, world: World, j: int) -> Iterator[Step]:
    accepted, _ = admitted(model, world, j, token=0, startable=False)
    yield Step(f"ledger accepts {name(j)}", _answered(accepted, j, Receipt.GIVEN))
    if charged_world := charged(accepted, "unknown_confirms"):
        yield Step(
            f"ledger accepts {name(j)}, the answer is lost",
            _answered(charged_world, j, Receipt.UNKNOWN),
            promised=False,
        )


def _answered(world: World, j: int, receipt: Receipt) -> World:
    return world._replace(jobs=replaced(world.jobs, j, world.jobs[j]._replace(receipt=receipt)))


def admitted(
    model: Model, world: World, j: int, *, token: int, startable: bool, process: int = NOBODY
) -> tuple[World, Verdict]:
    """A job at the ledger's door: its key is decided first, then its row, in one commit. An alias stays one."""
    protocol, job, spec = model.protocol, world.jobs[j], model.jobs[j]
    if job.alias_of is not None and not protocol.asks_key_of_known:
        return world, Verdict.DUPLICATE
    if model.keyed and (job.row is None or protocol.asks_key_of_known):
        verdict = _key_verdict(model, world, j)
        if verdict is KeyVerdict.ALIAS:
            alias = job._replace(alias_of=world.key_holder)
            return world._replace(jobs=replaced(world.jobs, j, alias)), Verdict.DUPLICATE
        if verdict is KeyVerdict.CONFLICT:
            if job.row is not None:
                return world, Verdict.DUPLICATE
            return put(world, j, Row(state=State.DEAD, reason=Reason.KEY_CONFLICT), by="conflict"), Verdict.ABSORBED
        if verdict is KeyVerdict.FREE:
            world = world._replace(key_holder=j, key_expired=False)
    due_at = LATER if spec.later else 0.0
    row, claimed = protocol.admit(
        job.row, token=token, now=0.0, due_at=due_at, startable=startable, at_most_once=spec.at_most_once
    )
    if row is not job.row:
        world = put(world, j, row, by="admit", process=process)
    return world, claimed


def _key_verdict(model: Model, world: World, j: int) -> KeyVerdict:
    holder = world.key_holder
    if holder is None:  # a tombstone takes no key
        return KeyVerdict.FREE if world.jobs[j].row is None else KeyVerdict.OWN
    row = world.jobs[holder].row
    return model.protocol.decide_key(
        job_id=name(j),
        payload_hash=model.jobs[j].payload,
        holder_id=name(holder),
        holder_hash=model.jobs[holder].payload,
        holder_state=row.state if row else None,
        expired=world.key_expired,
    )


def broker_faults(model: Model, world: World) -> Iterator[Step]:
    for j, job in enumerate(world.jobs):
        if job.copies and (doubled := charged(world, "duplicates")):
            yield Step(f"broker delivers {name(j)} twice", with_copies(doubled, j, 1), promised=False)
    for w, worker in enumerate(world.workers):
        holds_any = any(slot is not None and slot.unacked for slot in worker.slots)
        if holds_any and (dropped := charged(world, "channel_drops")):
            yield Step(f"the channel of worker {w} drops", requeued(dropped, w), promised=False)
    if wiped := charged(world, "wipes"):
        for w in range(len(world.workers)):
            wiped = requeued(wiped, w)
        jobs = tuple(_forgotten(job) for job in wiped.jobs)
        yield Step("the broker is wiped", wiped._replace(jobs=jobs), promised=False)
    if model.keyed and world.key_holder is not None and not world.key_expired and (late := charged(world, "expiries")):
        yield Step("the dedup key expires", late._replace(key_expired=True), promised=False)


def _forgotten(job: Job) -> Job:
    nowhere = job.receipt is Receipt.GIVEN and job.row is None and job.alias_of is None
    return job._replace(copies=0, receipt=Receipt.EXCUSED if nowhere else job.receipt)


def requeued(world: World, w: int) -> World:
    """The channel of a worker is gone: what it had not acked is delivered again, what it had not claimed is dropped."""
    worker = world.workers[w]
    for slot in worker.slots:
        if slot is not None and slot.unacked:
            world = with_copies(world, slot.job, 1)
    slots = tuple(
        None if slot is None or slot.phase in (Phase.DELIVERED, Phase.SPENT) else slot._replace(unacked=False)
        for slot in worker.slots
    )
    return world._replace(workers=replaced(world.workers, w, worker._replace(slots=slots)))


def operator_steps(model: Model, world: World) -> Iterator[Step]:
    protocol = model.protocol
    for j, job in enumerate(world.jobs):
        row = job.row
        if after := charged(world, "cancels"):
            cancelled = protocol.cancel(row)
            if cancelled != row:
                step = put(after, j, cancelled, by="cancel", process=job.process)
                yield Step(f"operator cancels {name(j)}", step, promised=False)
        if row is None or row.state is not State.DEAD:
            continue
        if after := charged(world, "replays"):
            replayed = put(after, j, protocol.replay(row, now=0.0), by="replay")
            # One more start is what the operator asked for.
            again = replayed.jobs[j]
            fresh = again._replace(
                starts=job.starts - 1, finishes=0, step=protocol.replayed(job.step), replays=job.replays + 1
            )
            jobs = replaced(replayed.jobs, j, fresh)
            yield Step(f"operator replays {name(j)}", replayed._replace(jobs=jobs), promised=False)
        if after := charged(world, "discards"):
            step = put(after, j, protocol.discard(row), by="discard")
            yield Step(f"operator discards {name(j)}", step, promised=False)


def name(j: int) -> str:
    return "ABC"[j]
