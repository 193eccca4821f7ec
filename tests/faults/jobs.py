"""Jobs whose effects can be counted: rows that commit with the job, without any constraint that would hide a double,
and calls of a provider that writes each one down."""

import ctypes
import os
import signal
from http.client import HTTPException

from sqlalchemy import text
from tests.faults.provider import VARIABLE, ask
from tests.workers.sink import note, wait_for_gate

from penstock.schemas import Backoff, Job
from penstock.workers import Context, EffectStep, handler

INSERT = text("INSERT INTO effects_of_tests (name) VALUES (:name)")
WORK = text("SELECT pg_sleep(:seconds)")


class Transfer(Job, type="faults.transfer", queue="faults", retry=Backoff(base_seconds=0.5)):
    """Writes a row in its completing transaction, after some work of `work_seconds` in the database; with `by_write`
    it leaves both to the transaction that completes many jobs."""

    n: int
    work_seconds: float = 0.0
    by_write: bool = False
    fails_first: bool = False
    gate: str | None = None


class BriefTransfer(Job, type="faults.brief_transfer", queue="faults", timeout_seconds=6.0):
    """Writes a row, within six seconds."""

    n: int


class Post(Job, type="faults.post", queue="faults", max_attempts=50, retry=Backoff(base_seconds=0.5, cap_seconds=2.0)):
    """Has an effect at the provider. What it cannot know it does again, under the same key."""

    n: int
    fails_first: bool = False


class CarefulPost(Job, type="faults.careful_post", queue="faults", retry=Backoff(base_seconds=0.2)):
    """The same, but what it cannot know is for a person to find out."""

    n: int


class OncePost(Job, type="faults.once_post", queue="faults", guarantee="at_most_once"):
    """An effect that must never be tried twice."""

    n: int


class Exiting(Job, type="faults.exiting", queue="faults"):
    """Ends its process by `os._exit`, or as the kernel does when memory runs out."""

    how: str


class Segfault(Job, type="faults.segfault", queue="faults"):
    """Kills its process."""

    n: int


@handler(Transfer)
def transfer(job: Transfer, ctx: Context) -> None:
    """The row names the job by its dedup key, so that each effect can be told."""
    if job.gate is not None:
        note("waiting", job=ctx.job_id)
        wait_for_gate(job.gate)
    if job.fails_first and ctx.attempt == 1:
        raise ValueError("the first attempt fails on purpose")
    name = {"name": ctx.key or ctx.job_id}
    if job.by_write:
        if job.work_seconds:
            ctx.write(WORK, {"seconds": job.work_seconds})
        ctx.write(INSERT, name)
        return
    with ctx.transaction() as connection:
        if job.work_seconds:
            connection.execute(WORK, {"seconds": job.work_seconds})
        connection.execute(INSERT, name)


@handler(BriefTransfer)
def transfer_briefly(job: BriefTransfer, ctx: Context) -> None:
    """The same without any trouble."""
    with ctx.transaction() as connection:
        connection.execute(INSERT, {"name": ctx.key or ctx.job_id})


@handler(Post)
def post(job: Post, ctx: Context) -> None:
    """429 is not the job's fault; 500 says that nothing was done; silence says nothing."""
    if job.fails_first and ctx.attempt == 1:
        raise ValueError("the first attempt fails on purpose")
    with ctx.effect("post", definite=(RefusedError,)) as effect:
        if effect.needed:
            _call(ctx, effect)


@handler(CarefulPost, unknown="park")
def post_carefully(job: CarefulPost, ctx: Context) -> None:
    """Silence is not taken for a no."""
    with ctx.effect("post", definite=(RefusedError,)) as effect:
        if effect.needed:
            _call(ctx, effect)


@handler(OncePost)
def post_once(job: OncePost, ctx: Context) -> None:
    """Without `ctx.effect`: the guarantee alone has to hold."""
    ask(os.environ[VARIABLE], "/effects", {"key": ctx.idempotency_key, "job": ctx.key or ctx.job_id})


@handler(Exiting)
def end_process(job: Exiting, ctx: Context) -> None:
    """Nothing of it can be caught."""
    if job.how == "exit":
        os._exit(3)
    os.kill(os.getpid(), signal.SIGKILL)


@handler(Segfault)
def segfault(job: Segfault, ctx: Context) -> None:
    """Reads address zero."""
    ctypes.string_at(0)


class RefusedError(Exception):
    """The provider said no."""


class SilentError(Exception):
    """The provider did not say."""


def _call(ctx: Context, effect: EffectStep) -> None:
    try:
        status = ask(os.environ[VARIABLE], "/effects", {"key": effect.key, "job": ctx.key or ctx.job_id})
    except (OSError, HTTPException) as error:
        raise SilentError from error
    if status == 429:
        effect.not_done()
        ctx.snooze(0.5)
    if status != 200:
        raise RefusedError(f"the provider answers {status}")
