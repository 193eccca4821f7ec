"""Handlers that have processes of their own."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

from sqlalchemy import text
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


class Intruding(Job, type="test.intruding", queue="test", timeout_seconds=20):
    """Has a process of its own use the transaction."""


@handler(Intruding)
def intrude(job: Intruding, ctx: Context) -> None:
    with ctx.transaction() as connection:
        connection.execute(text("INSERT INTO effects_of_tests (name) VALUES ('by the worker')"))

        def insert() -> None:
            try:
                connection.execute(text("INSERT INTO effects_of_tests (name) VALUES ('by the process')"))
            except Exception as error:
                note("refused", error=type(error).__name__)
            else:
                note("taken")

        process = FORK.Process(target=insert)
        process.start()
        process.join()
        connection.execute(text("INSERT INTO effects_of_tests (name) VALUES ('by the worker')"))
