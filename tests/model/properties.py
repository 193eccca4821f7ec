"""What must hold in every world, and what it means that all is done."""

from tests.model.world import Model, Receipt, World

from penstock.ledger.state import ENDED, Reason, State
from penstock.ledger.transitions import Row

USES_AN_ATTEMPT = frozenset({"complete", "fail", "bury", "guilty crash"})
REOPENS = frozenset({"replay", "discard"})

ENDED_CHANGED = "an ended job changed without replay or discard"
ATTEMPT_USED_UP = "an infrastructure fault used up an attempt"
ATTEMPT_GIVEN_BACK = "attempts went down without a replay"
STALE_TOKEN = "a stale token settled a job"
EFFECT_TWICE = "a transactional effect was committed twice"
KEY_TWICE = "two effects under one dedup key"
STARTED_TWICE = "an at_most_once handler started twice"
INNOCENT_BLAMED = "an innocent job is dead with reason crash"
RECEIPT_LOST = "a job with a receipt is nowhere"
ATTEMPTS_INVENTED = "more attempts than runs that ended"
EFFECT_REPEATED = "an external effect was repeated against the policy of its handler"
EFFECT_LOST = "a completed job whose external effect has not happened"
STUCK = "a job can never reach an end state"


def judge(model: Model, world: World) -> list[str]:
    """The safety properties that this world breaks."""
    broken = [world.broken] if world.broken else []
    for j, job in enumerate(world.jobs):
        row = job.row
        if job.effects > 1:
            broken.append(EFFECT_TWICE)
        if job.starts > 1:
            broken.append(STARTED_TWICE)
        if model.jobs[j].unknown is not None:
            broken += _judge_effect(model, world, j)
        if row is None:
            if job.receipt is Receipt.GIVEN and job.alias_of is None and not is_with_broker(world, j):
                broken.append(RECEIPT_LOST)
            continue
        if row.reason is Reason.CRASH and not model.jobs[j].guilty:
            broken.append(INNOCENT_BLAMED)
        if row.attempts > job.finishes:
            broken.append(ATTEMPTS_INVENTED)
    expiries = model.budget.expiries - world.budget.expiries
    if model.keyed and sum(job.effects for job in world.jobs) > 1 + expiries:
        broken.append(KEY_TWICE)
    return broken


def _judge_effect(model: Model, world: World, j: int) -> list[str]:
    job, policy = world.jobs[j], model.jobs[j].unknown
    broken = []
    # A worker that was paused between intent and effect cannot be kept from it: the provider knows the key again.
    is_fair = not model.budget.early_rescues
    most = 1 + job.replays if policy == "park" else 1
    if policy != "retry_same_key" and is_fair and job.sent > most:
        broken.append(EFFECT_REPEATED)
    if job.row is not None and job.row.state is State.COMPLETED and not job.sent:
        broken.append(EFFECT_LOST)
    return broken


def is_with_broker(world: World, j: int) -> bool:
    """Whether the broker still has a message of the job, in the queue or with a consumer."""
    return world.jobs[j].copies > 0 or any(
        slot is not None and slot.job == j and slot.unacked for worker in world.workers for slot in worker.slots
    )


def is_done(world: World) -> bool:
    """Every job that the ledger knows has ended, and it knows every job that has a receipt."""
    for job in world.jobs:
        if job.row is not None and job.row.state not in ENDED:
            return False
        if job.row is None and job.alias_of is None and job.receipt is Receipt.GIVEN:
            return False
    return True


def broken_by(before: Row, after: Row, by: str) -> str:
    """The property that this change of a row breaks, or nothing; `by` is the event that did it."""
    if before == after:
        return ""
    if before.state in ENDED and by not in REOPENS:
        return ENDED_CHANGED
    if after.attempts > before.attempts and by not in USES_AN_ATTEMPT:
        return ATTEMPT_USED_UP
    if after.attempts < before.attempts and by != "replay":
        return ATTEMPT_GIVEN_BACK
    return ""
