"""Handlers for the tests: each notes what it does in the sink."""

import asyncio
import select
from datetime import timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session
from tests.workers.sink import note, wait_for_gate

from penstock.schemas import Backoff, Job, Retry
from penstock.workers import Context, OutcomeUnknown, Permanent, handler
from penstock.workers.errors import JobCancelled

AT_ONCE = Backoff(base_seconds=0.0)


class Note(Job, type="test.note", queue="test"):
    """Notes its name."""

    name: str


@handler(Note)
def take_note(job: Note, ctx: Context) -> None:
    note("ran", job=ctx.job_id, name=job.name, attempt=ctx.attempt)


class AsyncNote(Job, type="test.async_note", queue="test"):
    """The same in a coroutine."""

    name: str


@handler(AsyncNote)
async def take_async_note(job: AsyncNote, ctx: Context) -> None:
    await asyncio.sleep(0)
    note("ran", job=ctx.job_id, name=job.name, attempt=ctx.attempt)


class Facts(Job, type="test.facts", queue="test", timeout_seconds=30):
    """Tells what its context says."""


@handler(Facts)
def tell_facts(job: Facts, ctx: Context) -> None:
    ctx.result = {"seen": ctx.job_id}
    ctx.log.info("a handler says hello")
    note(
        "facts",
        job=ctx.job_id,
        attempt=ctx.attempt,
        idempotency_key=ctx.idempotency_key,
        key=ctx.key,
        tenant=ctx.tenant,
        correlation_id=ctx.correlation_id,
        deadline=ctx.deadline.isoformat(),
        cancel_requested=ctx.cancel_requested,
    )


class Gated(Job, type="test.gated", queue="test"):
    """Starts, then waits for its gate."""

    name: str


@handler(Gated)
def wait_at_gate(job: Gated, ctx: Context) -> None:
    note("started", job=ctx.job_id, name=job.name, attempt=ctx.attempt)
    wait_for_gate(job.name)
    note("ran", job=ctx.job_id, name=job.name, attempt=ctx.attempt)


class OnceGated(Job, type="test.once_gated", queue="test", guarantee="at_most_once"):
    """The same, and must never start twice."""

    name: str


@handler(OnceGated)
def wait_at_gate_once(job: OnceGated, ctx: Context) -> None:
    note("started", job=ctx.job_id, name=job.name)
    wait_for_gate(job.name)
    note("ran", job=ctx.job_id, name=job.name)


class OnceFailing(Job, type="test.once_failing", queue="test", guarantee="at_most_once"):
    """Fails in a way of its choice, and must never start twice."""

    how: str


@handler(OnceFailing)
def fail_once(job: OnceFailing, ctx: Context) -> None:
    note("started", job=ctx.job_id)
    if job.how == "snooze":
        ctx.snooze(0)
    raise ValueError(job.how)


class Write(Job, type="test.write", queue="test", max_attempts=2, retry=AT_ONCE):
    """Writes a row in the completing transaction; `fail` says where it then fails."""

    name: str
    fail: str = ""


@handler(Write)
def write_row(job: Write, ctx: Context) -> None:
    note("started", job=ctx.job_id, attempt=ctx.attempt)
    ctx.publish(Note(name=f"after {job.name}"), key=f"after {job.name}")
    with ctx.transaction() as connection:
        insert_row(connection, job.name)
        if job.fail == "inside":
            raise ValueError("inside")
    if job.fail == "after":
        raise ValueError("after")
    if job.fail == "second":
        with ctx.transaction() as connection:
            insert_row(connection, f"{job.name} again")
    if job.fail == "publish":
        ctx.publish(Note(name=f"too late for {job.name}"))
    if job.fail == "result":
        ctx.result = "too late"


class Leave(Job, type="test.leave", queue="test", max_attempts=2, retry=AT_ONCE):
    """Leaves a row to be written with its completion; `how` says what else it does."""

    name: str
    how: str = ""


INSERT_ROW = text("INSERT INTO effects_of_tests (name) VALUES (:name)")
MISTAKE = text("INSERT INTO effects_of_tests (no_such_column) VALUES (:name)")


@handler(Leave)
def leave_row(job: Leave, ctx: Context) -> None:
    note("started", job=ctx.job_id, attempt=ctx.attempt)
    ctx.publish(Note(name=f"after {job.name}"))
    ctx.write(INSERT_ROW, {"name": job.name})
    if job.how == "refused" or (job.how == "refused once" and ctx.attempt == 1):
        ctx.write(MISTAKE, {"name": job.name})
    if job.how == "raises" or (job.how == "raises once" and ctx.attempt == 1):
        raise ValueError("after the write")
    if job.how == "cancels":
        raise JobCancelled
    if job.how == "with a result":
        ctx.result = {"left": 1}
    if job.how in ("transaction", "refused in a transaction", "too late"):
        with ctx.transaction() as connection:
            insert_row(connection, f"{job.name} inside")
            if job.how == "refused in a transaction":
                ctx.write(MISTAKE, {"name": job.name})
        if job.how == "too late":
            ctx.write(INSERT_ROW, {"name": f"{job.name} too late"})


class AsyncLeave(Job, type="test.async_leave", queue="test"):
    """The same in a coroutine, between two awaits."""

    name: str


@handler(AsyncLeave)
async def leave_row_async(job: AsyncLeave, ctx: Context) -> None:
    await asyncio.sleep(0)
    ctx.write(INSERT_ROW, {"name": job.name})
    await asyncio.sleep(0.01)


class OnceLeave(Job, type="test.once_leave", queue="test", guarantee="at_most_once"):
    """The same, and must never start twice."""

    name: str
    refused: bool = False


@handler(OnceLeave)
def leave_row_once(job: OnceLeave, ctx: Context) -> None:
    note("started", job=ctx.job_id)
    ctx.write(MISTAKE if job.refused else INSERT_ROW, {"name": job.name})


class Meddle(Job, type="test.meddle", queue="test", max_attempts=1):
    """Ends by itself a transaction that is not its own; with `fail` the attempt fails after that."""

    how: str
    inside: str = "transaction"
    fail: bool = False


@handler(Meddle)
def meddle(job: Meddle, ctx: Context) -> None:
    with getattr(ctx, job.inside)() as connection:
        if job.how == "begin":
            with connection.begin():
                insert_row(connection, f"{job.how} {job.fail}")
        elif job.how == "session":
            with Session(connection) as session:
                session.execute(text(f"INSERT INTO effects_of_tests (name) VALUES ('{job.how} {job.fail}')"))
                session.commit()
        else:
            insert_row(connection, f"{job.how} in {job.inside}")
            getattr(connection, job.how)()
        if job.fail:
            raise ValueError("after that")


class Checkpoint(Job, type="test.checkpoint", queue="test", max_attempts=3, retry=AT_ONCE):
    """Saves its progress, fails, and goes on from there."""

    name: str


@handler(Checkpoint)
def save_progress(job: Checkpoint, ctx: Context) -> None:
    with ctx.checkpoint() as connection:
        insert_row(connection, f"{job.name} {ctx.attempt}")
    if ctx.attempt < 2:
        raise ValueError("not yet")


def insert_row(connection: Any, name: str) -> None:
    """One row in the test's own table."""
    connection.execute(text("INSERT INTO effects_of_tests (name) VALUES (:name)"), {"name": name})


class AsyncWrite(Job, type="test.async_write", queue="test", max_attempts=1):
    """Writes a row in a coroutine, and awaits before it, or inside."""

    name: str
    inside: bool = False
    in_checkpoint: bool = False


@handler(AsyncWrite)
async def write_row_async(job: AsyncWrite, ctx: Context) -> None:
    note("started", job=ctx.job_id)
    await asyncio.sleep(0.05)
    with ctx.checkpoint() if job.in_checkpoint else ctx.transaction() as connection:
        insert_row(connection, job.name)
        if job.inside:
            await asyncio.sleep(0.2)
            insert_row(connection, f"{job.name} after the await")


class Nested(Job, type="test.nested", queue="test", max_attempts=1):
    """Puts into a transaction what must not stand there."""

    outer: str
    inner: str


@handler(Nested)
def nest(job: Nested, ctx: Context) -> None:
    with getattr(ctx, job.outer)() as connection:
        insert_row(connection, f"{job.inner} in {job.outer}")
        with getattr(ctx, job.inner)(*(["step"] if job.inner == "effect" else [])):
            note("inside", job=ctx.job_id)


class Snooze(Job, type="test.snooze", queue="test"):
    """Snoozes at its first sight of the job, which it notes."""

    seconds: float
    name: str


@handler(Snooze)
def snooze_once(job: Snooze, ctx: Context) -> None:
    note("started", job=ctx.job_id, attempt=ctx.attempt)
    with ctx.effect("first sight") as effect:
        effect.result = effect.needed
    if effect.needed:
        ctx.snooze(job.seconds)
    note("ran", job=ctx.job_id, name=job.name, attempt=ctx.attempt)


class Parent(Job, type="test.parent", queue="test"):
    """Publishes follow-ups."""

    name: str
    delay_seconds: float = 0.0


@handler(Parent)
def publish_children(job: Parent, ctx: Context) -> None:
    note("started", job=ctx.job_id)
    delay = timedelta(seconds=job.delay_seconds) if job.delay_seconds else None
    ctx.publish(Note(name=job.name), key=f"child of {job.name}", delay=delay)
    ctx.publish(Note(name=job.name), key=f"child of {job.name}", delay=delay)


class Effect(Job, type="test.effect", queue="test", max_attempts=4, retry=AT_ONCE):
    """One external effect; fails as it is told at its first attempt."""

    name: str
    fail: str = ""


@handler(Effect)
def have_effect(job: Effect, ctx: Context) -> None:
    with ctx.effect("send", definite=(ConnectionRefusedError,)) as effect:
        facts = {"needed": effect.needed, "repeated": effect.repeated, "result": effect.result, "key": effect.key}
        note("step", job=ctx.job_id, attempt=ctx.attempt, **facts)
        if effect.needed:
            if ctx.attempt == 1 and job.fail == "refused":
                raise ConnectionRefusedError
            if ctx.attempt == 1 and job.fail == "not done":
                effect.not_done()
                raise ValueError("nothing was sent")
            note("effect", job=ctx.job_id, key=effect.key)
            if ctx.attempt == 1 and job.fail == "unknown":
                raise ValueError("cut off")
            effect.result = {"message": 7}
    if ctx.attempt == 1 and job.fail == "later":
        raise ValueError("after the effect")


class ParkedEffect(Job, type="test.parked_effect", queue="test", max_attempts=4, retry=AT_ONCE):
    """An effect that nobody may repeat; cut off `always`, `once` or `never`."""

    name: str
    cut_off: str = "always"


@handler(ParkedEffect, unknown="park")
def have_parked_effect(job: ParkedEffect, ctx: Context) -> None:
    note("started", job=ctx.job_id, attempt=ctx.attempt)
    with ctx.effect("send") as effect:
        note("effect", job=ctx.job_id, repeated=effect.repeated)
        if job.cut_off == "always" or (job.cut_off == "once" and not effect.repeated):
            raise ValueError("cut off")


class AskedEffect(Job, type="test.asked_effect", queue="test", max_attempts=4, retry=AT_ONCE):
    """An effect after which the provider is asked; `step` tells what it will answer."""

    step: str


def ask(step: str, key: str) -> bool | None:
    note("asked", step=step, key=key)
    return {"yes": True, "no": False}.get(step)


@handler(AskedEffect, unknown="ask_provider", ask=ask)
def have_asked_effect(job: AskedEffect, ctx: Context) -> None:
    with ctx.effect(job.step) as effect:
        if effect.needed:
            note("effect", job=ctx.job_id, step=job.step)
            if ctx.attempt == 1:
                raise ValueError("cut off")


class Expected(Exception):
    """What `Failing` declares as permanent."""


class Failing(Job, type="test.failing", queue="test", max_attempts=3, retry=AT_ONCE, permanent=(Expected,)):
    """Raises what it is told to raise."""

    kind: str
    text: str = "boom"


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("no")


class UnprintableByExit(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class OwnBase(BaseException):
    """Not an Exception."""


def recurse(depth: int) -> int:
    return recurse(depth + 1) + 1


KINDS: dict[str, Any] = {
    "value": ValueError,
    "expected": Expected,
    "permanent": Permanent,
    "unknown outcome": OutcomeUnknown,
    "system exit": SystemExit,
    "interrupt": KeyboardInterrupt,
    "base": OwnBase,
    "memory": MemoryError,
    "unprintable": Unprintable,
    "unprintable by exit": UnprintableByExit,
    "generator exit": GeneratorExit,
    "stop iteration": StopIteration,
    "cancelled": asyncio.CancelledError,
    "timeout": TimeoutError,
}


@handler(Failing)
def fail(job: Failing, ctx: Context) -> None:
    note("started", job=ctx.job_id, attempt=ctx.attempt)
    if job.kind == "recursion":
        recurse(0)
    if job.kind == "group":
        raise ExceptionGroup("several", [ValueError(job.text)])
    raise KINDS[job.kind](job.text)


class AsyncFailing(Job, type="test.async_failing", queue="test", max_attempts=2, retry=AT_ONCE):
    """The same in a coroutine, or in a task that nobody waits for."""

    kind: str
    text: str = "boom"
    in_task: bool = False


async def explode(kind: str, text: str) -> None:
    raise KINDS[kind](text)


@handler(AsyncFailing)
async def fail_async(job: AsyncFailing, ctx: Context) -> None:
    note("started", job=ctx.job_id, attempt=ctx.attempt)
    if job.in_task:
        task = asyncio.get_running_loop().create_task(explode(job.kind, job.text))
        await asyncio.wait([task])
        note("ran", job=ctx.job_id, attempt=ctx.attempt)
    else:
        await explode(job.kind, job.text)


class Overrun(Job, type="test.overrun", queue="test", timeout_seconds=1, max_attempts=2, retry=AT_ONCE):
    """Overruns its timeout at its first attempt: in C without the interpreter, or in C with it."""

    how: str
    always: bool = False


@handler(Overrun)
def overrun(job: Overrun, ctx: Context) -> None:
    note("started", job=ctx.job_id, attempt=ctx.attempt)
    if ctx.attempt > 1 and not job.always:
        note("ran", job=ctx.job_id, attempt=ctx.attempt)
    elif job.how == "without the interpreter":
        select.select([], [], [], 60)
    else:
        sum(range(10**13))


class AsyncOverrun(Job, type="test.async_overrun", queue="test", timeout_seconds=0.5, max_attempts=1):
    """A coroutine that overruns."""


@handler(AsyncOverrun)
async def overrun_async(job: AsyncOverrun, ctx: Context) -> None:
    note("started", job=ctx.job_id)
    try:
        await asyncio.sleep(60)
    finally:
        note("cleaned up", job=ctx.job_id)


class Cancellable(Job, type="test.cancellable", queue="test"):
    """Looks, until its gate opens, whether somebody wants it cancelled."""

    name: str


@handler(Cancellable)
def look_for_cancel(job: Cancellable, ctx: Context) -> None:
    note("started", job=ctx.job_id, name=job.name)
    from tests.waiting import until

    until(lambda: ctx.cancel_requested, timeout_seconds=60)
    note("noticed", job=ctx.job_id)
    ctx.check_cancelled()


class Unique(Job, type="test.unique", queue="test", unique_for=timedelta(seconds=6)):
    """Its dedup keys live for six seconds."""

    name: str


@handler(Unique)
def take_unique_note(job: Unique, ctx: Context) -> None:
    note("ran", job=ctx.job_id, name=job.name)


class NoPolicy:
    """A retry policy with a mistake in it."""

    def decide(self, attempt: int, error: BaseException) -> Any:
        return Retry(timedelta(seconds=1))  # type: ignore[arg-type]


class OverrunWithoutPolicy(
    Job, type="test.overrun_without_policy", queue="test", timeout_seconds=0.5, retry=NoPolicy()
):
    """Overruns, and its policy fails when the supervisor asks it."""


@handler(OverrunWithoutPolicy)
def overrun_without_policy(job: OverrunWithoutPolicy, ctx: Context) -> None:
    note("started", job=ctx.job_id, attempt=ctx.attempt)
    if ctx.attempt == 1:
        select.select([], [], [], 60)


class Printing(Job, type="test.printing", queue="test"):
    """Prints, as handlers do that somebody else wrote."""


@handler(Printing)
def print_something(job: Printing, ctx: Context) -> None:
    print(f"printed by {ctx.job_id}", end="")
