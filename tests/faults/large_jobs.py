"""Jobs whose payload is as large as the wire allows."""

from tests.workers.sink import note

from penstock.schemas import Job
from penstock.workers import Context, handler

TEXT = "x" * (1024 * 1024 - 64)


class Large(Job, type="faults.large", queue="large"):
    """Publishes as many others of its size as it is told."""

    n: int
    children: int = 0
    text: str = TEXT


@handler(Large)
def read_large(job: Large, ctx: Context) -> None:
    """One line for each."""
    for n in range(job.children):
        ctx.publish(Large(n=1000 * job.n + n), key=f"{job.n}-{n}")
    ctx.result = "r" * 60_000
    note("ran", n=job.n)
