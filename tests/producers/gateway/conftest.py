"""Gateways on ledgers of their own."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.producers.gateway.running import RunningGateway

from penstock.ledger.database import Ledger, Session


@pytest.fixture
def gateway(ledger_url: str) -> Iterator[RunningGateway]:
    """A gateway without credentials, on each kind of database."""
    with RunningGateway(ledger_url) as gateway:
        yield gateway


@pytest.fixture
def session(ledger_url: str) -> Iterator[Session]:
    """A session on the gateway's ledger."""
    with Ledger(ledger_url).session() as session:
        yield session


@pytest.fixture
def lone(sqlite_url: str) -> Iterator[RunningGateway]:
    """A gateway where the database does not matter."""
    with RunningGateway(sqlite_url) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def door(migrated_sqlite_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway for what is refused; nothing that one test leaves behind is seen by another."""
    file = tmp_path_factory.mktemp("door") / "ledger.db"
    shutil.copyfile(migrated_sqlite_file, file)
    with RunningGateway(f"sqlite:///{file}") as gateway:
        yield gateway
