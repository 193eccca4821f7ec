"""The first job, embedded: no broker, no server, one SQLite file. How to run it stands in `examples/README.md`."""

from penstock.schemas import Job
from penstock.workers import Context, handler


class Greet(Job, type="first.greet"):
    name: str


@handler(Greet)
def greet(job: Greet, ctx: Context) -> None:
    ctx.result = f"Hello, {job.name}!"
