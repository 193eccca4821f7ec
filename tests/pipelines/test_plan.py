"""Splitting: the chunks of any file, read one by one, are the file."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.pipelines import LoadCsv
from penstock.pipelines.plan import make_plan
from penstock.pipelines.records import Records

CELL = st.text(st.sampled_from('ab",;\r\n \u00e4\U0001f427'), max_size=6)
ROWS = st.lists(st.tuples(CELL, CELL), max_size=12)


@pytest.fixture(scope="module")
def scratch_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that every example writes anew."""
    return tmp_path_factory.mktemp("plan") / "x.csv"


@settings(max_examples=300)
@given(rows=ROWS, chunk_rows=st.integers(1, 5), line_end=st.sampled_from(["\n", "\r\n"]))
def test_the_chunks_of_a_file_are_the_file(
    scratch_file: Path, rows: list[tuple[str, str]], chunk_rows: int, line_end: str
) -> None:
    """Whatever is in the fields, and however small the chunks."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=line_end, quoting=csv.QUOTE_ALL)
    writer.writerows([("a", "b"), *rows])
    scratch_file.write_bytes(text.getvalue().encode())
    job = LoadCsv(path="x", table="t", columns={"a": "text", "b": "text"}, chunk_rows=chunk_rows)
    plan = make_plan(job, scratch_file)
    read = []
    with scratch_file.open("rb") as opened:
        for chunk in plan.chunks:
            records = list(Records(opened, delimiter=",", start=chunk.start, end=chunk.end, line=chunk.first_line))
            assert len(records) == chunk.rows <= chunk_rows
            read += records
    assert [tuple(record.fields) for record in read] == rows
    assert [record.line for record in read] == lines_of(text.getvalue())
    assert plan.rows == len(rows)


def lines_of(text: str) -> list[int]:
    """The line on which each record but the first begins, counted in another way: as the csv module itself does."""
    reader = csv.reader(io.StringIO(text, newline="\n"))
    ends = [reader.line_num for _ in reader]
    return [end + 1 for end in ends[:-1]]
