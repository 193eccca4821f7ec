"""A module with a schedule, as a service has it."""

from penstock.schemas import Job
from penstock.workers import Context, every, handler


@every("0 0 1 1 *")
class Add(Job, type="demo.add", queue="demo"):
    """Does nothing, well."""

    n: int = 1


@handler(Add)
def add(job: Add, ctx: Context) -> None:
    """Nothing."""
