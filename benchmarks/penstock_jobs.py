"""A job that does nothing, for Penstock."""

from benchmarks.clock import Clock

from penstock.schemas import Job
from penstock.workers import Context, handler

clock = Clock()


class Noop(Job, type="benchmark.noop", queue="benchmark"):
    """About 200 bytes with its padding."""

    n: int
    padding: str


@handler(Noop)
def noop(job: Noop, ctx: Context) -> None:
    clock.tick()
