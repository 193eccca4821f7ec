"""The handlers of the pipelines, for `penstock worker --jobs penstock.pipelines.handlers`."""

from typing import Any, BinaryIO

from penstock.pipelines.contracts import LINE, SOURCE, LoadChunk, LoadCsv
from penstock.pipelines.errors import FileChanged
from penstock.pipelines.plan import hash_of, make_plan, places_of
from penstock.pipelines.records import Record, Records
from penstock.pipelines.settings import PipelineSettings
from penstock.pipelines.target import Target
from penstock.pipelines.values import BadRow, read_row
from penstock.workers import Context, handler

RECORD_SHOWN_BYTES_MAX = 10_000


@handler(LoadCsv)
def load_csv(job: LoadCsv, ctx: Context) -> None:
    """Plan: the tables, and a job for each chunk, come to be in one transaction with this job's completion."""
    target = Target(job)
    plan = make_plan(job, PipelineSettings().find(job.path))
    for chunk, key in plan.jobs(job):
        ctx.publish(chunk, key=key)
    ctx.result = {"source": plan.source, "rows": plan.rows, "chunks": len(plan.chunks)}
    with ctx.transaction() as connection:
        target.create(connection)


@handler(LoadChunk)
def load_chunk(job: LoadChunk, ctx: Context) -> None:
    """Load: good rows, bad rows and this job's completion commit together, or not at all."""
    target = Target(job)
    with PipelineSettings().find(job.path).open("rb") as file:
        good, bad = _read(job, file)
    ctx.check_cancelled()
    with ctx.transaction() as connection:
        loaded = target.insert(connection, target.rows, good)
        rejected = target.insert(connection, target.rejected, bad)
        ctx.result = {"loaded": loaded, "rejected": rejected, "there_before": len(good) + len(bad) - loaded - rejected}


def _read(job: LoadChunk, file: BinaryIO) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of the chunk, and those that do not fit; raises `FileChanged`."""
    heading = next(iter(Records(file, delimiter=job.delimiter)), None)
    records = list(Records(file, delimiter=job.delimiter, start=job.start, end=job.end, line=job.first_line))
    if heading is None or hash_of(heading, records) != job.chunk_sha256:
        raise FileChanged(
            f"the headings, or the bytes {job.start} to {job.end} of the file, have changed since it was planned; "
            "publish LoadCsv for the new file"
        )
    places, width = places_of(job, heading)
    good: list[dict[str, Any]] = []
    bad: list[dict[str, Any]] = []
    for record in records:
        place = {SOURCE: job.source, LINE: record.line}
        try:
            good.append(place | read_row(job, record, places=places, width=width))
        except BadRow as reason:
            bad.append(place | {"reason": str(reason), "record": _shown(record)})
    return good, bad


def _shown(record: Record) -> str:
    """The record as it stood in the file, as text that every database takes."""
    text = record.raw[:RECORD_SHOWN_BYTES_MAX].decode("utf-8", "backslashreplace")
    return text.rstrip("\r\n").replace("\x00", "\\x00")
