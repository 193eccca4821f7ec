"""Handlers that have processes of their own."""

import asyncio
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

from sqlalchemy import text
from tests.waiting import until
from tests.workers.sink import VARIABLE, Sink, note, wait_for_gate

from penstock.schemas import Job
from penstock.workers import Context, handler

FORK = multiprocessing.get_context("fork")


class Brief(Job, type="test.brief", queue="test", timeout_seconds=5):
    """Starts a process and ends it."""


@handler(Brief)
def end_process(job: Brief, ctx: Context) -> None:
    process = FORK.Process(target=time.sleep, args=[60])
    process.start()
    process.terminate()
    process.join()
    note("ran", job=ctx.job_id, code=process.exitcode)


class Outlived(Job, type="test.outlived", queue="test", timeout_seconds=60):
    """Starts a process that lives until the gate `end` opens, and is killed; runs through when it comes again."""

    with_supervisor: bool = False


@handler(Outlived)
def be_outlived(job: Outlived, ctx: Context) -> None:
    with ctx.transaction() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("LOCK TABLE effects_of_tests"))
        connection.execute(text("INSERT INTO effects_of_tests (name) VALUES ('once')"))
        if not Sink(Path(os.environ[VARIABLE])).events("forked"):
            process = FORK.Process(target=wait_for_gate, args=["end"])
            process.start()
            note("forked", child=process.pid)
            if job.with_supervisor:
                os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)


ROWS = [{"name": f"{n:05} {'x' * 500}"} for n in range(20_000)]  # more than SQLite keeps in memory until the commit
INSERT = text("INSERT INTO effects_of_tests (name) VALUES (:name)")


class Intruding(Job, type="test.intruding", queue="test", timeout_seconds=60):
    """Has a process of its own use the transaction."""


@handler(Intruding)
def intrude(job: Intruding, ctx: Context) -> None:
    with ctx.transaction() as connection:
        connection.execute(INSERT, ROWS[:10_000])

        def insert() -> None:
            try:
                connection.execute(INSERT, {"name": "by the process"})
            except Exception as error:
                note("refused", error=type(error).__name__)
            else:
                note("taken")

        process = FORK.Process(target=insert)
        process.start()
        process.join()
        connection.execute(INSERT, ROWS[10_000:])


class Unwinding(Job, type="test.unwinding", queue="test", timeout_seconds=60):
    """Has a process of its own leave the transaction by an error."""


@handler(Unwinding)
def unwind(job: Unwinding, ctx: Context) -> None:
    pid = -1
    try:
        with ctx.transaction() as connection:
            connection.execute(INSERT, ROWS[:10_000])
            if (pid := os.fork()) == 0:
                raise ValueError("in the process")
            os.waitpid(pid, 0)
            connection.execute(INSERT, ROWS[10_000:])
    finally:
        if pid == 0:
            note("unwound")
            os._exit(0)


class Stray(Job, type="test.stray", queue="test", timeout_seconds=20):
    """Forks a process that comes back from the handler; waits until it has ended."""

    how: str


@handler(Stray)
def stray(job: Stray, ctx: Context) -> None:
    wait_for_gate("fork")
    if (pid := os.fork()) == 0:
        come_back(job.how)
    else:
        note("ended", code=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


class AsyncStray(Job, type="test.async_stray", queue="test", timeout_seconds=20):
    """The same in a coroutine."""

    how: str


@handler(AsyncStray)
async def stray_in_coroutine(job: AsyncStray, ctx: Context) -> None:
    await asyncio.to_thread(wait_for_gate, "fork")
    if (pid := os.fork()) != 0:
        _, status = await asyncio.to_thread(os.waitpid, pid, 0)
        note("ended", code=os.waitstatus_to_exitcode(status))
    elif job.how == "await":
        await asyncio.sleep(0)
        note("went on")
    else:
        come_back(job.how)


class Neighbour(Job, type="test.neighbour", queue="test", guarantee="at_most_once"):
    """A coroutine that waits beside one that forks."""


@handler(Neighbour)
async def wait_beside(job: Neighbour, ctx: Context) -> None:
    note("started")
    await asyncio.to_thread(wait_for_gate, "fork")
    for _ in range(100):
        await asyncio.sleep(0.01)
    note("ran", job=ctx.job_id)


def come_back(how: str) -> None:
    """By an error, by an exit, or just so."""
    if how == "error":
        raise ValueError("in the process")
    if how == "exit":
        sys.exit(0)


class OfItsOwn(Job, type="test.of_its_own", queue="test", timeout_seconds=20):
    """Has a process that closes all it has inherited, opens files, handles SIGTERM, and forks another."""


@handler(OfItsOwn)
def fork_twice(job: OfItsOwn, ctx: Context) -> None:
    process = FORK.Process(target=become_a_daemon)
    process.start()
    process.join()


def become_a_daemon() -> None:
    os.closerange(3, 256)
    files = [os.open("/etc/hostname", os.O_RDONLY) for _ in range(40)]
    signal.signal(signal.SIGTERM, lambda *_: os._exit(42))
    if (pid := os.fork()) == 0:
        note("files", names=sorted({str(Path(f"/proc/self/fd/{file}").readlink()) for file in files}))
        signal.pause()
    until(lambda: Sink(Path(os.environ[VARIABLE])).events("files"), what="the other process")
    os.kill(pid, signal.SIGTERM)
    note("ended", code=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
