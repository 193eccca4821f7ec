"""Several different statements of handlers go to Postgres without waiting for each answer, and fail as they would
one by one."""

from collections.abc import Iterator
from typing import Any

import pytest
from psycopg.pq import PipelineStatus
from sqlalchemy import event, insert, text
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError
from sqlalchemy.schema import CreateTable
from tests.ledger.samples import claimed, state_of
from tests.ledger.test_writes import INSERT, RAISE, numbers, orders, outcome

from penstock.ledger.database import Ledger, Session
from penstock.ledger.settlement import settle_with_writes
from penstock.ledger.writes import WriteRefused

JOBS = 4
NO_TABLE = text("INSERT INTO nowhere (n) VALUES (:n)")
NO_VALUE = text("INSERT INTO orders (n) VALUES (:n), (:m)")
GONE = text("SELECT pg_terminate_backend(pg_backend_pid())")
TWICE = insert(orders)


@pytest.fixture
def session(postgres: Ledger) -> Iterator[Session]:
    """With the table that handlers write to."""
    with postgres.session() as session:
        session.connection.execute(CreateTable(orders))
        yield session


@pytest.fixture
def writing(postgres: Ledger, session: Session) -> Iterator[Session]:
    with postgres.writing_session() as writing:
        yield writing


def modes(writing: Session) -> set[PipelineStatus]:
    """How the statements on `orders` are executed from now on."""
    seen: set[PipelineStatus] = set()

    def note(connection: Any, _: Any, statement: str, *__: Any) -> None:
        if "orders" in statement:
            seen.add(PipelineStatus(connection.connection.driver_connection.pgconn.pipeline_status))

    event.listen(writing.connection, "before_cursor_execute", note)
    return seen


def batch_of(session: Session, wrong: dict[int, Any] | None = None) -> list[Any]:
    """Jobs with two statements each, one with a third one that is wrong at some places."""
    return [
        outcome(
            claimed(session),
            (INSERT, {"n": n}),
            (RAISE, {"n": n, "by": 1}),
            *([(wrong[n], {"n": n})] if wrong and n in wrong else []),
        )
        for n in range(JOBS)
    ]


def test_statements_that_differ_go_into_a_pipeline(session: Session, writing: Session) -> None:
    """And have their effects in their order."""
    seen = modes(writing)
    settle_with_writes(writing, batch_of(session))
    assert seen == {PipelineStatus.ON}
    states = session.connection.execute(text("SELECT n, state FROM orders ORDER BY n")).all()
    assert states == [(n, 1) for n in range(JOBS)]


def test_one_or_two_do_not(session: Session, writing: Session) -> None:
    """Neighbours that are the same statement are one."""
    seen = modes(writing)
    claims = [claimed(session) for _ in range(2)]
    settle_with_writes(
        writing, [outcome(claims[0], (INSERT, {"n": 1})), outcome(claims[1], (INSERT, {"n": 2}), (TWICE, {"n": 3}))]
    )
    assert seen == {PipelineStatus.OFF}
    assert numbers(session) == [1, 2, 3]


@pytest.mark.parametrize("place", range(JOBS))
@pytest.mark.parametrize(
    ("wrong", "error"), [(NO_TABLE, DBAPIError), (NO_VALUE, StatementError)], ids=["by Postgres", "before it is sent"]
)
def test_the_guilty_job_is_named_wherever_it_stands(
    session: Session, writing: Session, place: int, wrong: Any, error: type[Exception]
) -> None:
    """Nothing of its batch stands, and the session is good for the rest."""
    batch = batch_of(session, {place: wrong})
    with pytest.raises(WriteRefused) as caught:
        settle_with_writes(writing, batch)
    assert (caught.value.first, caught.value.last) == (place, place)
    assert isinstance(caught.value.error, error)
    assert {state_of(session, it.job_id) for it in batch} == {"executing"}
    del batch[place]
    settle_with_writes(writing, batch)
    assert numbers(session) == [n for n in range(JOBS) if n != place]


@pytest.mark.parametrize("later", [NO_TABLE, NO_VALUE], ids=["by Postgres", "before it is sent"])
def test_of_two_that_are_wrong_the_first_is_named(session: Session, writing: Session, later: Any) -> None:
    """With its own error, also where the other one was found out earlier."""
    with pytest.raises(WriteRefused, match="jobs 1 to 1") as caught:
        settle_with_writes(writing, batch_of(session, {1: text("INSERT INTO nowhere_1 (n) VALUES (:n)"), 3: later}))
    assert "nowhere_1" in str(caught.value.error)


def test_neighbours_in_a_pipeline_may_each_be_the_guilty_one(session: Session, writing: Session) -> None:
    """As outside of one: the server does not say which row it was."""
    session.connection.execute(text("CREATE UNIQUE INDEX one_of_each ON orders (n)"))
    claims = [claimed(session) for _ in range(4)]
    batch = [
        outcome(claims[0], (INSERT, {"n": 1}), (RAISE, {"n": 1, "by": 1}), (TWICE, {"n": 2})),
        outcome(claims[1], (TWICE, {"n": 3})),
        outcome(claims[2], (TWICE, {"n": 3}), (RAISE, {"n": 3, "by": 1})),
        outcome(claims[3], (INSERT, {"n": 4})),
    ]
    with pytest.raises(WriteRefused) as caught:
        settle_with_writes(writing, batch)
    assert (caught.value.first, caught.value.last) == (0, 2)
    assert isinstance(caught.value.error, IntegrityError)
    assert "(3)" not in str(caught.value.error)  # the DETAIL of a row tells what is in it


@pytest.mark.parametrize("place", range(JOBS))
def test_a_connection_that_is_lost_in_a_pipeline_may_be_back(session: Session, writing: Session, place: int) -> None:
    """Nothing of the batch stands."""
    batch = batch_of(session, {place: GONE})
    with pytest.raises(WriteRefused) as caught:
        settle_with_writes(writing, batch)
    assert (caught.value.is_gone, caught.value.may_pass) == (True, True)
    assert caught.value.first <= place
    assert numbers(session) == []
