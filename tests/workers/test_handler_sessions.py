"""Sessions of handlers: what the engine's own calls run into is never the job's fault."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from penstock.ledger.database import Ledger
from penstock.workers.errors import LedgerLost
from penstock.workers.sessions import HandlerSessions


def end_backends(ledger: Ledger) -> None:
    """What an administrator, a failover or a proxy does to idle connections."""
    with ledger.session() as session:
        session.connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )


@pytest.mark.parametrize("timeout_seconds", [30.0, 60.0], ids=["the same timeout", "another timeout"])
def test_a_connection_that_died_in_the_pool_is_a_lost_ledger(
    migrated_database_url: str, timeout_seconds: float
) -> None:
    """The engine's own statement finds out first where there is one; else the handler's does."""
    ledger = Ledger(migrated_database_url)
    sessions = HandlerSessions(ledger, threads=1)
    with sessions.connection(timeout_seconds=30.0) as connection:
        connection.execute(text("SELECT 1"))
        connection.commit()
    end_backends(ledger)
    with (
        pytest.raises(LedgerLost if timeout_seconds == 60.0 else OperationalError),
        sessions.connection(timeout_seconds=timeout_seconds) as connection,
    ):
        connection.execute(text("SELECT 1"))
    with sessions.connection(timeout_seconds=timeout_seconds) as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
    sessions.close()


def test_a_handler_statement_may_take_as_long_as_its_contract_says(migrated_database_url: str) -> None:
    """Not as long as that of the job before it."""
    sessions = HandlerSessions(Ledger(migrated_database_url), threads=1)
    for seconds in (30.0, 0.2):
        with sessions.connection(timeout_seconds=seconds) as connection:
            shown = connection.execute(text("SHOW statement_timeout")).scalar()
            assert shown == {30.0: "30s", 0.2: "200ms"}[seconds]
    sessions.close()


def test_a_ledger_that_is_away_is_lost(tmp_path: object) -> None:
    """Also at the first connection."""
    sessions = HandlerSessions(Ledger(f"sqlite:///{tmp_path}/no/folder/ledger.db"), threads=1)
    with pytest.raises(LedgerLost), sessions.connection(timeout_seconds=1.0):
        pass
