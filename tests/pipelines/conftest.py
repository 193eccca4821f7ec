"""A folder with files, and a worker that loads them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.one_worker import OneWorker
from tests.pipelines.tables import Tables

from penstock.pipelines.handlers import load_chunk, load_csv


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that pipelines may read."""
    folder = tmp_path / "files"
    folder.mkdir()
    monkeypatch.setenv("PENSTOCK_PIPELINE_DIR", str(folder))
    return folder


@pytest.fixture
def worker(ledger_url: str) -> Iterator[OneWorker]:
    """A worker that knows the pipeline's handlers."""
    with OneWorker(ledger_url, [load_csv, load_chunk]) as worker:
        yield worker


@pytest.fixture
def tables(ledger_url: str) -> Iterator[Tables]:
    """What stands in the database, seen from outside the platform."""
    tables = Tables(ledger_url)
    yield tables
    tables.close()
