"""What may be declared of a file and its table."""

import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from penstock.pipelines import LoadChunk, LoadCsv

IMPORT = (
    "import sys; from penstock.pipelines import LoadCsv; "
    "print([name for name in ('sqlalchemy', 'dramatiq', 'pydantic_settings') if name in sys.modules])"
)


@pytest.mark.parametrize(
    "name",
    ["", "1a", "Birds", "a b", 'a"b', "a;drop table jobs", "a.b", "ä", "a\n", "a" * 51, "penstock_line", "sqlite_x"],
)
def test_only_plain_names_become_sql(name: str) -> None:
    """Of a table and of a column."""
    with pytest.raises(ValidationError, match="must"):
        LoadCsv(path="x.csv", table=name, columns={"n": "integer"})
    with pytest.raises(ValidationError, match="must"):
        LoadCsv(path="x.csv", table="t", columns={name: "integer"})


@pytest.mark.parametrize(
    "options",
    [
        {"columns": {}},
        {"columns": {"n": "json"}},
        {"columns": {f"c{number}": "text" for number in range(101)}},
        {"headings": {"other": "x"}},
        {"required": ["other"]},
        {"delimiter": '"'},
        {"delimiter": "ab"},
        {"chunk_rows": 0},
        {"chunk_rows": 1_000_000},
    ],
)
def test_options_out_of_bounds_are_refused(options: dict[str, Any]) -> None:
    """Everything has a limit, and strangers are not overlooked."""
    with pytest.raises(ValidationError):
        LoadCsv(**({"path": "x.csv", "table": "t", "columns": {"n": "integer"}} | options))


def test_a_chunk_cannot_ask_for_a_whole_disk() -> None:
    """Its bytes are bounded by the contract, whoever publishes it."""
    with pytest.raises(ValidationError, match="end must lie after start, by at most"):
        LoadChunk(
            path="x.csv",
            table="t",
            columns={"n": "integer"},
            source="0" * 64,
            first_line=2,
            start=0,
            end=10**9,
            chunk_sha256="0" * 64,
        )


def test_a_service_that_only_publishes_loads_imports_nothing_of_the_engine() -> None:
    """The contracts are light; the handlers are a module of their own."""
    done = subprocess.run([sys.executable, "-c", IMPORT], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
