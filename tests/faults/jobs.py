"""Jobs whose effects can be counted: rows that commit with the job, without any constraint that would hide a double."""

import ctypes

from sqlalchemy import text
from tests.workers.sink import note, wait_for_gate

from penstock.schemas import Backoff, Job
from penstock.workers import Context, handler

INSERT = text("INSERT INTO effects_of_tests (name) VALUES (:name)")


class Transfer(Job, type="faults.transfer", queue="faults", retry=Backoff(base_seconds=0.5)):
    """Writes a row in its completing transaction, after some work of `work_seconds` in the database."""

    n: int
    work_seconds: float = 0.0
    fails_first: bool = False
    gate: str | None = None


class Segfault(Job, type="faults.segfault", queue="faults"):
    """Kills its process."""

    n: int


@handler(Transfer)
def transfer(job: Transfer, ctx: Context) -> None:
    """The row names the job, so that each effect can be told."""
    if job.gate is not None:
        note("waiting", job=ctx.job_id)
        wait_for_gate(job.gate)
    if job.fails_first and ctx.attempt == 1:
        raise ValueError("the first attempt fails on purpose")
    with ctx.transaction() as connection:
        if job.work_seconds:
            connection.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": job.work_seconds})
        connection.execute(INSERT, {"name": ctx.job_id})


@handler(Segfault)
def segfault(job: Segfault, ctx: Context) -> None:
    """Reads address zero."""
    ctypes.string_at(0)
