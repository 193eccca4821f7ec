"""Loading a CSV file: every row once, bad rows put aside, nothing half done."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from tests.one_worker import OneWorker
from tests.pipelines.tables import Tables

from penstock.pipelines import LoadCsv

HEADINGS = "n,name,weight,born,tame\n"
COLUMNS: dict[str, Any] = {"n": "integer", "name": "text", "weight": "float", "born": "date", "tame": "boolean"}


def a_load(**options: Any) -> LoadCsv:
    """The job that loads `birds.csv` into `birds`, three rows at a time."""
    given: dict[str, Any] = {"path": "birds.csv", "table": "birds", "columns": COLUMNS, "chunk_rows": 3}
    return LoadCsv(**(given | options))


def write_birds(folder: Path, rows: int) -> Path:
    """A file with so many good rows."""
    file = folder / "birds.csv"
    file.write_text(HEADINGS + "".join(f"{n},bird {n},{n / 2},2026-01-01,yes\n" for n in range(rows)))
    return file


def test_each_row_is_loaded_once_with_its_types(folder: Path, worker: OneWorker, tables: Tables) -> None:
    """Ten rows in chunks of three are four chunks and ten rows."""
    write_birds(folder, 10)
    job_id = worker.publish(a_load())
    ran = worker.run_all()
    assert len(ran) == 1 + 4
    assert {key: value for key, value in result_of(worker, job_id).items() if key != "source"} == {
        "rows": 10,
        "chunks": 4,
    }
    assert tables.read("SELECT n, name, weight FROM birds ORDER BY n") == [(n, f"bird {n}", n / 2) for n in range(10)]
    [(born, tame)] = tables.read("SELECT DISTINCT born, tame FROM birds")
    assert (str(born), bool(tame)) == (str(date(2026, 1, 1)), True)
    assert tables.read("SELECT count(*) FROM birds_rejected") == [(0,)]


def test_the_same_file_published_twice_is_loaded_once(folder: Path, worker: OneWorker, tables: Tables) -> None:
    """Also without a key: the chunks have keys of their own, made of the file's hash."""
    write_birds(folder, 10)
    for _ in range(2):
        worker.publish(a_load())
    ran = worker.run_all()
    assert len(ran) == 2 + 4
    assert tables.read("SELECT count(*), count(DISTINCT n) FROM birds") == [(10, 10)]


def test_another_chunk_size_finds_the_rows_there_already(folder: Path, worker: OneWorker, tables: Tables) -> None:
    """A row is known by its file and line, not by the chunk that brought it."""
    write_birds(folder, 10)
    for size in (3, 4):
        worker.publish(a_load(chunk_rows=size))
        ran = worker.run_all()
    assert [result_of(worker, job_id).get("there_before") for job_id in ran] == [None, 4, 4, 2]
    assert tables.read("SELECT count(*) FROM birds") == [(10,)]


def test_bad_rows_are_put_aside_with_their_line_and_reason(folder: Path, worker: OneWorker, tables: Tables) -> None:
    """The good ones around them are loaded; the record is kept as it stood."""
    lines = [
        b"1,ok,1.5,2026-01-01,yes",
        b"x,not a number,1.5,2026-01-01,yes",
        b"3,too few,1.5",
        b"4,no such day,1.5,2026-02-30,no",
        b"5,neither,1.5,2026-01-01,maybe",
        b"6,endless,inf,2026-01-01,yes",
        b"7,\xff\xfe,1,2026-01-01,yes",
        b'8,"broken"quote,1,2026-01-01,yes',
        b",no number,1,2026-01-01,yes",
        b"9999999999999999999,too big,1,2026-01-01,yes",
        b"11,nul\x00,1,2026-01-01,yes",
        b"12,ok,,,",
    ]
    (folder / "birds.csv").write_bytes(HEADINGS.encode() + b"\n".join(lines))
    worker.publish(a_load(required=["n"]))
    worker.run_all()
    assert tables.read("SELECT n, name, tame FROM birds ORDER BY n") == [(1, "ok", 1), (12, "ok", None)]
    assert tables.read("SELECT penstock_line, reason FROM birds_rejected ORDER BY penstock_line") == [
        (3, "n: is not an integer of 64 bits"),
        (4, "has 3 fields instead of 5"),
        (5, "born: is not a date like 2026-11-23"),
        (6, "tame: is neither true nor false"),
        (7, "weight: is not a finite number"),
        (8, "name: is not UTF-8"),
        (9, "not CSV: ',' expected after '\"'"),
        (10, "n: has no value, and must have one"),
        (11, "n: is not an integer of 64 bits"),
        (12, "name: holds NUL"),
    ]
    assert tables.read("SELECT record FROM birds_rejected WHERE penstock_line = 9") == [
        ('8,"broken"quote,1,2026-01-01,yes',)
    ]


def test_line_ends_inside_of_quotes_do_not_split_a_row(folder: Path, worker: OneWorker, tables: Tables) -> None:
    """Neither between chunks nor in the count of lines; Windows line ends and a byte order mark are fine."""
    rows = 'n,name\r\n1,"one\r\ntwo"\r\n2,"a ""b""\n\n,c"\r\n\r\n3,three\r\n4,'
    (folder / "birds.csv").write_bytes(b"\xef\xbb\xbf" + rows.encode())
    worker.publish(a_load(columns={"n": "integer", "name": "text"}, chunk_rows=1))
    worker.run_all()
    assert tables.read("SELECT n, name, penstock_line FROM birds ORDER BY n") == [
        (1, "one\r\ntwo", 2),
        (2, 'a "b"\n\n,c', 4),
        (3, "three", 8),
        (4, None, 9),
    ]


def test_a_file_that_changes_after_the_plan_is_refused(folder: Path, worker: OneWorker, tables: Tables) -> None:
    """The chunk says so, is dead at once, and loads nothing."""
    file = write_birds(folder, 3)
    worker.publish(a_load())
    [plan_id] = worker.run_due()
    file.write_text(file.read_text().replace("bird 1", "bird X"))
    [chunk_id] = worker.run_due()
    shown = worker.show(chunk_id)
    assert worker.show(plan_id)["state"] == "completed"
    assert (shown["state"], shown["reason"]) == ("dead", "permanent")
    assert "have changed since it was planned; publish LoadCsv for the new file" in shown["error"]
    assert tables.read("SELECT count(*) FROM birds") == [(0,)]


def test_headings_that_change_after_the_plan_are_noticed(folder: Path, worker: OneWorker, tables: Tables) -> None:
    """The bytes of the rows are the same, and would go into the wrong columns."""
    file = write_birds(folder, 3)
    worker.publish(a_load())
    worker.run_due()
    file.write_text(file.read_text().replace("n,name,weight", "weight,name,n").replace("\n", "\n", 1))
    [chunk_id] = worker.run_due()
    assert worker.show(chunk_id)["state"] == "dead"
    assert tables.read("SELECT count(*) FROM birds") == [(0,)]


def test_a_changed_file_is_a_new_load(folder: Path, worker: OneWorker, tables: Tables) -> None:
    """What each load made can be told apart, and taken back."""
    for rows in (3, 4):
        write_birds(folder, rows)
        job_id = worker.publish(a_load())
        worker.run_all()
    source = result_of(worker, job_id)["source"]
    tables.write(f"DELETE FROM birds WHERE penstock_source <> '{source}'")
    assert tables.read("SELECT count(*) FROM birds") == [(4,)]


@pytest.mark.parametrize(
    "case",
    [
        ("", {}, "the file is empty"),
        ("n,name,weight,born\n", {}, "the file has no heading 'tame'"),
        (HEADINGS.replace("n,", "n,n,", 1), {}, "more than one heading 'n'"),
        (HEADINGS.replace("\n", ",age\n"), {}, "headings that no column is declared for: 'age'"),
        (HEADINGS + "x" * 2_000_000, {}, "line 2 is longer than 1048576 bytes"),
        (HEADINGS, {"table": "jobs"}, "jobs is a table of the ledger"),
        (HEADINGS, {"path": "../birds.csv"}, "path leads out of PENSTOCK_PIPELINE_DIR"),
        (HEADINGS, {"path": "/etc/passwd"}, "path leads out of PENSTOCK_PIPELINE_DIR"),
    ],
)
def test_a_load_that_cannot_work_is_dead_at_once_and_says_why(
    folder: Path, worker: OneWorker, tables: Tables, case: tuple[str, dict[str, Any], str]
) -> None:
    """And leaves no table behind."""
    content, options, error = case
    (folder / "birds.csv").write_text(content)
    shown = worker.run(a_load(**options))
    assert (shown["state"], shown["reason"]) == ("dead", "permanent")
    assert error in worker.show(shown["id"])["history"][0]["message"].replace("[redacted]", "jobs")
    assert "birds" not in tables.names()


def test_other_columns_can_be_ignored_and_headings_renamed(folder: Path, worker: OneWorker, tables: Tables) -> None:
    """A file comes as it comes."""
    (folder / "birds.csv").write_text('Body Mass (g);"x;y"\n12;NA\n')
    job = a_load(
        columns={"mass": "integer"},
        headings={"mass": "Body Mass (g)"},
        delimiter=";",
        other_columns="ignore",
    )
    worker.publish(job)
    worker.run_all()
    assert tables.read("SELECT mass FROM birds") == [(12,)]


def test_a_table_that_is_somebody_elses_is_left_alone(folder: Path, worker: OneWorker, tables: Tables) -> None:
    """Rows only go into tables that a pipeline has made."""
    write_birds(folder, 1)
    tables.write("CREATE TABLE birds (n integer, name text, weight float, born date, tame boolean)")
    shown = worker.run(a_load())
    assert shown["state"] == "dead"
    assert "is there and does not fit" in shown["history"][0]["message"]
    assert tables.read("SELECT count(*) FROM birds") == [(0,)]


def test_words_of_sql_are_names_like_others(folder: Path, worker: OneWorker, tables: Tables) -> None:
    """They are quoted."""
    (folder / "birds.csv").write_text("select,user\n1,x\n")
    worker.publish(a_load(table="order", columns={"select": "integer", "user": "text"}))
    worker.run_all()
    assert tables.read('SELECT "select", "user" FROM "order"') == [(1, "x")]


def result_of(worker: OneWorker, job_id: str) -> dict[str, Any]:
    """What a job left behind."""
    result = worker.show(job_id)["result"]
    assert result is not None
    return dict(json.loads(result))
