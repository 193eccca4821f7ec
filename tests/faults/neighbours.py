"""Jobs of two queues: one has all sorts of trouble, the other one should not notice."""

import ctypes
import threading

from sqlalchemy import text

from penstock.schemas import Job
from penstock.workers import Context, Permanent, handler

STEADY_SECONDS = 0.04
SLOW_SECONDS = 3.0
INSERT = text("INSERT INTO effects_of_tests (name) VALUES (:name)")


class Steady(Job, type="neighbours.steady", queue="steady"):
    """Takes its time, and next to nothing of the machine's: how many are done depends on threads being given some."""

    n: int


class Hopeless(Job, type="neighbours.hopeless", queue="troubled"):
    """Fails for good."""

    n: int


class Slow(Job, type="neighbours.slow", queue="troubled"):
    """Keeps its thread."""

    n: int


class Crash(Job, type="neighbours.crash", queue="troubled"):
    """Kills its process."""

    n: int


class Stuck(Job, type="neighbours.stuck", queue="a-full"):
    """Waits for a queue that takes nothing, and that comes first in the alphabet."""

    n: int


@handler(Steady)
def steady(job: Steady, ctx: Context) -> None:
    """One row."""
    threading.Event().wait(STEADY_SECONDS)
    with ctx.transaction() as connection:
        connection.execute(INSERT, {"name": ctx.job_id})


@handler(Hopeless)
def fail(job: Hopeless, ctx: Context) -> None:
    """With a traceback of its own."""
    raise Permanent("hopeless")


@handler(Slow)
def linger(job: Slow, ctx: Context) -> None:
    """Sleeps."""
    threading.Event().wait(SLOW_SECONDS)


@handler(Crash)
def crash(job: Crash, ctx: Context) -> None:
    """Reads address zero."""
    ctypes.string_at(0)
