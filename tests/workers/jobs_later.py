"""A release that knows more: a type and a version that `jobs` does not."""

from tests.workers.sink import note

from penstock.schemas import Job, Payload, upcaster
from penstock.workers import Context, handler


class Later(Job, type="test.later", queue="test"):
    """A new type in an old queue."""

    name: str


@handler(Later)
def take_later(job: Later, ctx: Context) -> None:
    note("ran", job=ctx.job_id, name=job.name, attempt=ctx.attempt)


class Note2(Job, type="test.note", version=2, queue="test"):
    """The second version of `test.note`."""

    title: str


@handler(Note2)
def take_second_note(job: Note2, ctx: Context) -> None:
    note("ran", job=ctx.job_id, name=job.title, attempt=ctx.attempt)


class Renamed(Job, type="test.renamed", version=2, queue="test", aliases=("test.before",)):
    """Was `test.before`, with a name instead of a title."""

    title: str


@upcaster(Renamed, from_version=1)
def titled(payload: Payload) -> Payload:
    """The name has become the title."""
    return {"title": payload["name"]}


@handler(Renamed)
def take_renamed(job: Renamed, ctx: Context) -> None:
    note("ran", job=ctx.job_id, name=job.title, attempt=ctx.attempt)


class Other(Job, type="test.other", queue="other"):
    """In a queue of its own."""

    name: str


@handler(Other)
def take_other(job: Other, ctx: Context) -> None:
    note("ran", job=ctx.job_id, name=job.name, attempt=ctx.attempt)
