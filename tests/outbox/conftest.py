"""An outbox on each kind of database, and what a relay needs beside it."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine
from tests.producers.queues import AddRow, Queues

from penstock.producers.outbox import DDL
from penstock.producers.outbox.address import open_store
from penstock.producers.outbox.store import Store


@pytest.fixture
def postgres_url(database_url: str) -> str:
    """A service's Postgres with an outbox."""
    _make(database_url)
    return database_url


@pytest.fixture
def sqlite_file_url(tmp_path: Path) -> str:
    """A service's SQLite file with an outbox."""
    url = f"sqlite:///{tmp_path / 'service.db'}"
    _make(url)
    return url


@pytest.fixture(params=["postgres", "sqlite"])
def outbox_url(request: pytest.FixtureRequest) -> str:
    """An outbox, once on each kind of database."""
    return str(request.getfixturevalue({"postgres": "postgres_url", "sqlite": "sqlite_file_url"}[request.param]))


@pytest.fixture
def engine(outbox_url: str) -> Iterator[Engine]:
    """The service's own engine."""
    engine = create_engine(outbox_url)
    yield engine
    engine.dispose()


@pytest.fixture
def store(outbox_url: str) -> Iterator[Store]:
    """The outbox as a relay sees it."""
    with closing(open_store(outbox_url)) as store:
        yield store


@pytest.fixture
def queues(broker_url: str) -> Iterator[Queues]:
    """A virtual host with a quorum queue for `AddRow`."""
    with Queues(broker_url) as queues:
        queues.bind(AddRow)
        yield queues


def _make(url: str) -> None:
    """Make the outbox as its DDL says."""
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in filter(str.strip, DDL[engine.dialect.name].split(";")):
            connection.exec_driver_sql(statement)
    engine.dispose()
