"""The jobs that the commands of these tests run."""

import dramatiq
from tests.waiting import until

from penstock.schemas import Job
from penstock.workers import Context, Permanent, handler


class Add(Job, type="demo.add", queue="demo"):
    """Does nothing, well."""

    n: int


class AddTwo(Job, type="demo.add", queue="demo", version=2):
    """The same with one field more."""

    n: int
    m: int


class Fail(Job, type="demo.fail", queue="demo"):
    """Fails for good."""

    secret: str


class Hang(Job, type="demo.hang", queue="slow", timeout_seconds=3600):
    """Runs until it is stopped."""


class Once(Job, type="demo.once", queue="demo", guarantee="at_most_once"):
    """Runs once at most."""


@handler(Add)
def add(job: Add, ctx: Context) -> None:
    """Nothing."""


@handler(AddTwo)
def add_two(job: AddTwo, ctx: Context) -> None:
    """Nothing."""


@handler(Fail)
def fail(job: Fail, ctx: Context) -> None:
    """Fail."""
    raise Permanent(f"cannot read {job.secret}")


@handler(Hang)
def hang(job: Hang, ctx: Context) -> None:
    """Wait for what never comes."""
    until(lambda: False, timeout_seconds=3600)


@handler(Once)
def once(job: Once, ctx: Context) -> None:
    """Nothing."""


@dramatiq.actor(queue_name="actors")
def old_actor(n: int) -> None:
    """An actor that somebody had already."""
