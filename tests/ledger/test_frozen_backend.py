"""A session that stands still on the server, behind a connection that stays open."""

import os
import signal

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from tests.servers.postgres import PrivatePostgres

from penstock.ledger import bounded_connection
from penstock.ledger.database import Ledger, Session, is_gone

PID = text("SELECT pg_backend_pid()")


def engine_session(ledger: Ledger) -> Session:
    return ledger.session()


def writing_session(ledger: Ledger) -> Session:
    return ledger.writing_session()


@pytest.mark.parametrize("opened", [engine_session, writing_session])
@pytest.mark.parametrize("has_begun", [False, True], ids=["before it has begun", "in a transaction"])
def test_the_engine_waits_for_an_answer_only_so_long(
    private_postgres: PrivatePostgres, monkeypatch: pytest.MonkeyPatch, opened: object, has_begun: bool
) -> None:
    """Whatever it asks; also the BEGIN of what handlers have left to be written."""
    assert callable(opened)
    session = opened(Ledger(private_postgres.create_database()))
    pid = session.connection.execute(PID).scalar_one()
    if not has_begun:
        session.connection.rollback()
    monkeypatch.setattr(bounded_connection, "ANSWER_SECONDS_MAX", 0.5)
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(DBAPIError) as lost:
            session.connection.execute(PID)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert is_gone(lost.value)
    session.close()
