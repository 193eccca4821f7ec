"""The jobs of the measurements, for Penstock."""

import time

from benchmarks.clock import Clock
from benchmarks.load import PAUSE_SECONDS
from sqlalchemy import text

from penstock.schemas import Job
from penstock.workers import Context, handler

clock = Clock()
ADD_ROW = text("INSERT INTO numbers (n) VALUES (:n)")
ADD_NOTE = text("INSERT INTO notes (n) VALUES (:n)")


class Noop(Job, type="benchmark.noop", queue="benchmark"):
    """About 200 bytes with its padding."""

    n: int
    padding: str


class Pause(Job, type="benchmark.pause", queue="benchmark"):
    """Works for 5 ms without using the CPU."""

    n: int
    padding: str


class AddRow(Job, type="benchmark.add_row", queue="benchmark"):
    """Adds a row that commits together with the job."""

    n: int
    padding: str


class WriteRow(Job, type="benchmark.write_row", queue="benchmark"):
    """Leaves a row to be written when the job is completed."""

    n: int
    padding: str


class WriteRows(Job, type="benchmark.write_rows", queue="benchmark"):
    """Leaves a row each for two tables to be written when the job is completed."""

    n: int
    padding: str


class Timed(Job, type="benchmark.timed", queue="benchmark"):
    """Tells how long it took to be started."""

    sent: float
    padding: str


class TimedPause(Job, type="benchmark.timed_pause", queue="benchmark"):
    """Tells how long it took to be started, then works for 5 ms without using the CPU."""

    sent: float
    padding: str


@handler(Noop)
def noop(job: Noop, ctx: Context) -> None:
    clock.tick()


@handler(Pause)
def pause(job: Pause, ctx: Context) -> None:
    clock.tick()
    time.sleep(PAUSE_SECONDS)


@handler(AddRow)
def add_row(job: AddRow, ctx: Context) -> None:
    with ctx.transaction() as connection:
        connection.execute(ADD_ROW, {"n": job.n})
    clock.tick()


@handler(WriteRow)
def write_row(job: WriteRow, ctx: Context) -> None:
    ctx.write(ADD_ROW, {"n": job.n})
    clock.tick()


@handler(WriteRows)
def write_rows(job: WriteRows, ctx: Context) -> None:
    ctx.write(ADD_ROW, {"n": job.n})
    ctx.write(ADD_NOTE, {"n": job.n})
    clock.tick()


@handler(Timed)
def timed(job: Timed, ctx: Context) -> None:
    clock.arrived(job.sent)


@handler(TimedPause)
def timed_pause(job: TimedPause, ctx: Context) -> None:
    clock.arrived(job.sent)
    time.sleep(PAUSE_SECONDS)
