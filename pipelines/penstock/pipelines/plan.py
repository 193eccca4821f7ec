"""How a file is split: pieces of whole records, each with the hash of its bytes."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from penstock.pipelines.contracts import CHUNK_BYTES_MAX, CsvShape, LoadChunk, LoadCsv
from penstock.pipelines.errors import FileNotCsv
from penstock.pipelines.records import Record, Records

CHUNKS_MAX = 10_000
HEADINGS_MAX = 1000


@dataclass(frozen=True, slots=True)
class Chunk:
    first_line: int
    start: int
    end: int
    sha256: str
    rows: int


@dataclass(frozen=True, slots=True)
class Plan:
    """`source` is the SHA-256 of the whole file: what it is about, under whatever name it comes."""

    source: str
    chunks: list[Chunk]

    @property
    def rows(self) -> int:
        return sum(chunk.rows for chunk in self.chunks)

    def jobs(self, job: LoadCsv) -> Iterator[tuple[LoadChunk, str]]:
        """A job for each chunk, with its dedup key: the same for the same bytes into the same table."""
        shape = job.model_dump(include=set(CsvShape.model_fields))
        for chunk in self.chunks:
            yield (
                LoadChunk(
                    **shape,
                    source=self.source,
                    first_line=chunk.first_line,
                    start=chunk.start,
                    end=chunk.end,
                    chunk_sha256=chunk.sha256,
                ),
                f"{self.source}:{job.table}:{chunk.start}-{chunk.end}",
            )


def make_plan(job: LoadCsv, path: Path) -> Plan:
    """Read the file once; raises `FileNotCsv` and what opening a file raises."""
    with path.open("rb") as file:
        records = Records(file, delimiter=job.delimiter)
        rest = iter(records)
        heading = next(rest, None)
        if heading is None:
            raise FileNotCsv("the file is empty: it has no headings")
        places_of(job, heading)
        chunks = list(islice(_chunks(rest, heading, job.chunk_rows), CHUNKS_MAX + 1))
    if len(chunks) > CHUNKS_MAX:
        raise FileNotCsv(f"the file makes more than {CHUNKS_MAX} chunks: raise chunk_rows, or split the file")
    return Plan(records.sha256.hexdigest(), chunks)


def _chunks(records: Iterator[Record], heading: Record, rows_max: int) -> Iterator[Chunk]:
    """Pieces of at most so many rows and `CHUNK_BYTES_MAX` bytes."""
    held: list[Record] = []
    for record in records:
        if held and (len(held) == rows_max or record.end - held[0].start > CHUNK_BYTES_MAX):
            yield _chunk(held, heading)
            held = []
        held.append(record)
    if held:
        yield _chunk(held, heading)


def _chunk(held: list[Record], heading: Record) -> Chunk:
    return Chunk(held[0].line, held[0].start, held[-1].end, hash_of(heading, held), len(held))


def hash_of(heading: Record, records: list[Record]) -> str:
    """What the rows of a chunk depend on: the bytes of its records, and of the headings."""
    digest = hashlib.sha256(heading.raw)
    for record in records:
        digest.update(record.raw)
    return digest.hexdigest()


def places_of(job: CsvShape, heading: Record) -> tuple[dict[str, int], int]:
    """Where each declared column stands in a record, and how many fields a record has; raises `FileNotCsv`."""
    if heading.problem is not None:
        raise FileNotCsv(f"line {heading.line}, the headings: {heading.problem}")
    found = heading.fields
    if len(found) > HEADINGS_MAX:
        raise FileNotCsv(f"the file has {len(found)} columns, at most {HEADINGS_MAX} are read")
    wanted = {column: job.heading_of(column) for column in job.columns}
    if missing := [repr(heading) for heading in wanted.values() if heading not in found]:
        raise FileNotCsv(f"the file has no heading {', '.join(missing)}")
    if twice := sorted({repr(heading) for heading in wanted.values() if found.count(heading) > 1}):
        raise FileNotCsv(f"the file has more than one heading {', '.join(twice)}")
    others = [repr(heading) for heading in found if heading not in wanted.values()]
    if others and job.other_columns == "refuse":
        raise FileNotCsv(
            f"the file has headings that no column is declared for: {', '.join(others)}; "
            "declare them, or publish with other_columns='ignore'"
        )
    return {column: found.index(heading) for column, heading in wanted.items()}, len(found)
