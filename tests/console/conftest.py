"""The `penstock` command in a folder of its own, with nothing in its environment but what a test sets."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import structlog
from tests.console.command import Command, Starter

from penstock.ledger.database import Ledger, Session


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, empty, without any setting of the developer's."""
    for name in [name for name in os.environ if name.startswith("PENSTOCK_") and "_TEST_" not in name]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "path", list(sys.path))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("PENSTOCK_ACTOR", "ann")
    yield here
    structlog.reset_defaults()


@pytest.fixture
def penstock(monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command in this process."""
    return Command(monkeypatch)


@pytest.fixture
def running() -> Iterator[Starter]:
    """Starts commands as processes; those that still run at the end of the test are killed."""
    with ExitStack() as stack:
        yield Starter(stack)


@pytest.fixture
def session(ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """A session on the ledger that the commands use, once on each kind of database."""
    monkeypatch.setenv("PENSTOCK_DATABASE_URL", ledger_url)
    with Ledger(ledger_url).session() as session:
        yield session


@pytest.fixture
def full(migrated_database_url: str, broker_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """A session on Postgres, with RabbitMQ beside it in the environment."""
    monkeypatch.setenv("PENSTOCK_DATABASE_URL", migrated_database_url)
    monkeypatch.setenv("PENSTOCK_BROKER_URL", broker_url)
    with Ledger(migrated_database_url).session() as session:
        yield session
