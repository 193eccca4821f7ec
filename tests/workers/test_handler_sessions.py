"""Sessions of handlers: what the engine's own calls run into is never the job's fault."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from penstock.ledger import database
from penstock.ledger.database import Ledger
from penstock.workers.coroutine_transactions import AWAITED
from penstock.workers.errors import LedgerLost
from penstock.workers.lending import lent
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


CREATE = text("CREATE TABLE effects_of_tests (name TEXT NOT NULL)")
INSERT = text("INSERT INTO effects_of_tests (name) VALUES (:name)")
NAMES = text("SELECT name FROM effects_of_tests")


def test_a_connection_that_found_the_database_locked_still_undoes_what_fails(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next transaction on it is one."""
    monkeypatch.setattr(database, "SQLITE_BUSY_SECONDS", 0.1)
    ledger = Ledger(sqlite_url)
    sessions = HandlerSessions(ledger, threads=1)
    with ledger.session() as session:
        session.connection.execute(CREATE)
    with (
        ledger.session() as other,
        other.transaction(),
        pytest.raises(OperationalError, match="locked"),
        sessions.connection(timeout_seconds=1.0) as connection,
    ):
        connection.execute(INSERT, {"name": "locked out"})
    with suppress(ZeroDivisionError), sessions.connection(timeout_seconds=1.0) as again:
        again.execute(INSERT, {"name": "undone"})
        raise ZeroDivisionError
    assert again is connection
    with ledger.session() as session:
        assert session.connection.execute(NAMES).scalars().all() == []
    sessions.close()


def test_a_coroutine_that_had_to_give_way_does_not_begin_anew(sqlite_url: str) -> None:
    """It would wait for the locks of whoever came along, on the thread on which that one would have to go on."""
    ledger = Ledger(sqlite_url)
    sessions = HandlerSessions(ledger, threads=2)
    with ledger.session() as session:
        session.connection.execute(CREATE)

    async def write(name: str, begun: asyncio.Event, awaited: Awaitable[object]) -> None:
        with sessions.connection(timeout_seconds=1.0) as connection:
            with lent(connection):
                connection.execute(INSERT, {"name": name})
                begun.set()
                await awaited
                connection.execute(INSERT, {"name": f"{name}, after the await"})
            sessions.require_unawaited(connection)
            connection.commit()

    async def write_both() -> tuple[BaseException | None, ...]:
        first, second = asyncio.Event(), asyncio.Event()
        one = asyncio.create_task(write("one", first, second.wait()))
        await first.wait()
        other = asyncio.create_task(write("other", second, asyncio.sleep(0)))
        return await asyncio.gather(one, other, return_exceptions=True)

    assert [str(error) for error in asyncio.run(write_both())] == [AWAITED, AWAITED]
    with ledger.session() as session:
        assert session.connection.execute(NAMES).scalars().all() == []
    sessions.close()
