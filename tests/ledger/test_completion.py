"""A handler's writes and its job's completion commit together, or not at all."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from tests.ledger.samples import OTHER_TOKEN, TOKEN, change, claimed, count, row_of, state_of, waiting_offer

from penstock.ledger import jobs
from penstock.ledger.completion import (
    Fenced,
    complete_and_commit,
    complete_within,
    hold_within,
    is_completed_under,
)
from penstock.ledger.database import Ledger, Session
from penstock.ledger.tables import jobs as jobs_table


@pytest.fixture
def handlers(ledger: Ledger, session: Session) -> Iterator[Engine]:
    """The engine of the handlers, with a table of their own."""
    session.connection.exec_driver_sql("CREATE TABLE orders (n INTEGER)")
    engine = ledger.engine(purpose="handlers", pool_size=2)
    yield engine
    engine.dispose()


def test_the_handlers_writes_commit_with_the_completion(session: Session, handlers: Engine) -> None:
    """One transaction: the order, the end state, the result, the follow-up."""
    claim, follow_up = claimed(session), waiting_offer(key="k")
    with handlers.begin() as connection:
        connection.execute(text("INSERT INTO orders VALUES (1)"))
        complete_within(connection, job_id=claim.id, token=TOKEN, result=b'{"n":1}', follow_ups=(follow_up,))

    row = row_of(session, claim.id)
    assert (row.state, row.attempts, row.result) == ("completed", 1, b'{"n":1}')
    assert row.finished_at is not None
    assert state_of(session, follow_up.message.id) == "available"
    assert _orders(session) == 1


def test_a_stale_token_rolls_the_handlers_writes_back(session: Session, handlers: Engine) -> None:
    """Nothing commits with a stale token."""
    claim = claimed(session)
    change(session, claim.id, token=OTHER_TOKEN)

    with handlers.connect() as connection, connection.begin() as transaction:
        connection.execute(text("INSERT INTO orders VALUES (1)"))
        with pytest.raises(Fenced):
            complete_within(connection, job_id=claim.id, token=TOKEN, follow_ups=(waiting_offer(),))
        transaction.rollback()

    assert _orders(session) == 0
    assert state_of(session, claim.id) == "executing"
    assert count(session, jobs_table) == 1


@pytest.mark.parametrize("result", [None, b"{}"], ids=["in one round trip", "with a result"])
def test_the_completion_commits(session: Session, handlers: Engine, result: bytes | None) -> None:
    """And the connection is good for the next job."""
    for orders in (1, 2):
        claim = claimed(session)
        with handlers.connect() as connection:
            connection.execute(text("INSERT INTO orders VALUES (1)"))
            complete_and_commit(connection, job_id=claim.id, token=TOKEN, result=result)
        assert (state_of(session, claim.id), row_of(session, claim.id).result) == ("completed", result)
        assert row_of(session, claim.id).attempts == 1
        assert _orders(session) == orders


@pytest.mark.parametrize("result", [None, b"{}"], ids=["in one round trip", "with a result"])
def test_a_completion_that_is_fenced_commits_nothing(session: Session, handlers: Engine, result: bytes | None) -> None:
    """Nor does whatever comes after it on the same connection."""
    claim = claimed(session)
    change(session, claim.id, token=OTHER_TOKEN)
    with handlers.connect() as connection:
        connection.execute(text("INSERT INTO orders VALUES (1)"))
        with pytest.raises(Fenced):
            complete_and_commit(connection, job_id=claim.id, token=TOKEN, result=result)
        connection.rollback()
        assert connection.execute(text("SELECT COUNT(*) FROM orders")).scalar() == 0
    assert state_of(session, claim.id) == "executing"


def test_a_handler_that_goes_on_after_an_error_of_the_database_completes_nothing(
    session: Session, handlers: Engine
) -> None:
    """Its transaction is aborted, whoever has swallowed the error; on SQLite it is not."""
    claim = claimed(session)
    with handlers.connect() as connection:
        connection.execute(text("INSERT INTO orders VALUES (1)"))
        with pytest.raises(DBAPIError):
            connection.execute(text("INSERT INTO nowhere VALUES (1)"))
        if session.dialect.name == "postgresql":
            with pytest.raises(DBAPIError):
                complete_and_commit(connection, job_id=claim.id, token=TOKEN)
        connection.rollback()
    assert (state_of(session, claim.id), _orders(session)) == ("executing", 0)


def test_an_error_after_the_completion_rolls_it_back(session: Session, handlers: Engine) -> None:
    """The job is still executing under its token and can be run again."""
    claim = claimed(session)
    with handlers.connect() as connection, connection.begin() as transaction:
        complete_within(connection, job_id=claim.id, token=TOKEN)
        with pytest.raises(DBAPIError):
            connection.execute(text("INSERT INTO nowhere VALUES (1)"))
        transaction.rollback()
    assert state_of(session, claim.id) == "executing"


def test_a_job_is_completed_once(session: Session, handlers: Engine) -> None:
    """A second completing transaction finds it ended."""
    claim = claimed(session)
    with handlers.begin() as connection:
        complete_within(connection, job_id=claim.id, token=TOKEN)
    with pytest.raises(Fenced), handlers.begin() as connection:
        complete_within(connection, job_id=claim.id, token=TOKEN)
    assert row_of(session, claim.id).attempts == 1


def test_a_job_that_somebody_wants_cancelled_may_still_complete(session: Session, handlers: Engine) -> None:
    """Cancelling is a request; what is done is done."""
    claim = claimed(session)
    jobs.cancel_job(session, claim.id, actor="ada")
    with handlers.begin() as connection:
        complete_within(connection, job_id=claim.id, token=TOKEN)
    assert state_of(session, claim.id) == "completed"


def test_a_checkpoint_is_fenced_and_does_not_complete(session: Session, handlers: Engine) -> None:
    """It writes under the same fence."""
    mine, lost = claimed(session), claimed(session)
    change(session, lost.id, token=OTHER_TOKEN)
    with handlers.begin() as connection:
        hold_within(connection, job_id=mine.id, token=TOKEN)
        connection.execute(text("INSERT INTO orders VALUES (1)"))
    with pytest.raises(Fenced), handlers.begin() as connection:
        hold_within(connection, job_id=lost.id, token=TOKEN)
    assert (state_of(session, mine.id), _orders(session)) == ("executing", 1)


def test_a_commit_whose_reply_was_lost_can_be_told(session: Session, handlers: Engine) -> None:
    """Completed under my token: done. Executing, completed by another, gone: not."""
    done, running, foreign = claimed(session), claimed(session), claimed(session)
    with handlers.begin() as connection:
        complete_within(connection, job_id=done.id, token=TOKEN)
    change(session, foreign.id, state="completed", token=OTHER_TOKEN)
    jobs_asked = [done.id, running.id, foreign.id, waiting_offer().message.id]
    assert [is_completed_under(session, job_id=it, token=TOKEN) for it in jobs_asked] == [True, False, False, False]


def _orders(session: Session) -> int:
    return int(session.connection.exec_driver_sql("SELECT COUNT(*) FROM orders").scalar_one())
