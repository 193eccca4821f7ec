"""A ledger and a session on it, on each kind of database."""

from collections.abc import Iterator

import pytest

from penstock.ledger.database import Ledger, Session


@pytest.fixture
def ledger(ledger_url: str) -> Ledger:
    """A migrated, empty ledger."""
    return Ledger(ledger_url)


@pytest.fixture
def session(ledger: Ledger) -> Iterator[Session]:
    """A session of the engine's."""
    with ledger.session() as session:
        yield session


@pytest.fixture
def postgres(migrated_database_url: str) -> Ledger:
    """A migrated, empty ledger on Postgres."""
    return Ledger(migrated_database_url)
