"""A hundred job types in fifty queues, for Penstock."""

from benchmarks.clock import Clock

from penstock.schemas import Job
from penstock.workers import Context, handler

TYPES = 100
QUEUES = 50

clock = Clock()


def _made(number: int) -> type[Job]:
    class Noop(Job, type=f"benchmark.noop{number}", queue=f"benchmark-{number % QUEUES}"):
        n: int
        padding: str

    @handler(Noop)
    def noop(job: Noop, ctx: Context) -> None:
        clock.tick()

    globals()[f"noop{number}"] = noop
    return Noop


JOBS = [_made(number) for number in range(TYPES)]
