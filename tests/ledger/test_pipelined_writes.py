"""Several different statements of handlers go to Postgres without waiting for each answer, and fail as they would
one by one."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from psycopg.pq import PipelineStatus
from sqlalchemy import Column, Integer, MetaData, Table, bindparam, delete, event, insert, text
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError
from sqlalchemy.schema import CreateTable
from tests.ledger.samples import claimed, state_of
from tests.ledger.test_writes import INSERT, RAISE, numbers, orders, outcome

from penstock.ledger import bounded_connection, writes
from penstock.ledger.database import Ledger, Session, sqlstate
from penstock.ledger.settlement import settle_with_writes
from penstock.ledger.writes import WriteRefused

JOBS = 4
NO_TABLE = text("INSERT INTO nowhere (n) VALUES (:n)")
NO_VALUE = text("INSERT INTO orders (n) VALUES (:n), (:m)")
GONE = text("SELECT pg_terminate_backend(pg_backend_pid())")
TWICE = insert(orders)
keyed = Table("keyed", MetaData(), Column("id", Integer, primary_key=True), Column("n", Integer))
REMOVE = delete(orders).where(orders.c.n.in_(bindparam("ids", expanding=True)))


@pytest.fixture
def session(postgres: Ledger) -> Iterator[Session]:
    """With the table that handlers write to."""
    with postgres.session() as session:
        for table in (orders, keyed):
            session.connection.execute(CreateTable(table))
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


@pytest.mark.parametrize(
    "writes",
    [
        [(insert(keyed), {"n": 1})],
        [(insert(keyed), {"n": 1}), (insert(keyed), {"n": 2})],
        [(TWICE, {"n": n}) for n in range(5)],
        [(REMOVE, {"ids": [1, 2]}), (REMOVE, {"ids": []})],
        [(text("SELECT * FROM generate_series(1, 10000)"), None)],
        [(text("SELECT 1").execution_options(stream_results=True), None)],
        [(text("INSERT INTO orders (n) VALUES (1); INSERT INTO orders (n) VALUES (2)"), None)],
        [(text("INSERT INTO orders (n) VALUES (1);"), None)],
        [(text("-- nothing"), None)],
        [(text("COPY (SELECT 1) TO PROGRAM 'cat > /dev/null'"), None)],
    ],
    ids=["key", "keys", "rows", "list", "select", "streamed", "several", "semicolon", "comment", "copy"],
)
def test_what_is_done_alone_is_done_among_others(session: Session, writing: Session, writes: list[Any]) -> None:
    """Also when psycopg has prepared it."""
    for _ in range(8):
        session.connection.execute(text("TRUNCATE orders"))
        batch = [*batch_of(session), outcome(claimed(session), *writes), *batch_of(session)]
        assert settle_with_writes(writing, batch) == set()
        assert {state_of(session, it.job_id) for it in batch} == {"completed"}


def test_answers_that_come_when_a_group_is_done_are_waited_for(
    session: Session, writing: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All together take longer than one answer may."""
    monkeypatch.setattr(bounded_connection, "ANSWER_SECONDS_MAX", 1.0)
    monkeypatch.setattr(writes, "QUICK_SECONDS", 0.1)
    nap = (text("SELECT pg_sleep(0.3)"), None)
    settle_with_writes(writing, [outcome(claimed(session), nap, (INSERT, {"n": n})) for n in range(JOBS)])
    assert numbers(session) == [*range(JOBS)]


@pytest.mark.parametrize(
    ("wrong", "state"),
    [
        ("DO $$ BEGIN RAISE EXCEPTION 'lost' USING ERRCODE = '40001'; END $$", "40001"),
        ("DO $$ BEGIN RAISE EXCEPTION 'lost' USING ERRCODE = '55P03'; END $$", "55P03"),
        ("DO $$ BEGIN RAISE EXCEPTION 'lost' USING ERRCODE = '57014'; END $$", "57014"),
    ],
    ids=["serialization", "lock timeout", "statement timeout"],
)
def test_a_refusal_is_not_taken_for_a_lost_connection(
    session: Session, writing: Session, wrong: str, state: str
) -> None:
    """While others are still being sent."""
    many = [
        outcome(
            claimed(session), *(write for i in range(100) for write in ((INSERT, {"n": i}), (REMOVE, {"ids": [i]})))
        )
        for _ in range(JOBS)
    ]
    many.insert(1, outcome(claimed(session), (text(wrong), None)))
    with pytest.raises(WriteRefused) as caught:
        settle_with_writes(writing, many)
    assert (caught.value.first, caught.value.last, caught.value.is_gone) == (1, 1, False)
    assert isinstance(caught.value.error, DBAPIError)
    assert sqlstate(caught.value.error) == state


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
    assert "UPDATE" not in str(caught.value.error)  # what was being sent when the answer came


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


@pytest.mark.parametrize("seed", range(20))
def test_random_batches_fare_as_they_do_one_by_one(
    session: Session, writing: Session, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """The same rows, or the same refusal of the same job."""
    session.connection.execute(text("CREATE UNIQUE INDEX one_of_each ON orders (n)"))
    jobs = [random_writes(random.Random(f"{seed} {job}"), job) for job in range(6)]
    fared = []
    for pipelined_min in (10**9, writes.PIPELINED_MIN):
        monkeypatch.setattr(writes, "PIPELINED_MIN", pipelined_min)
        session.connection.execute(text("TRUNCATE orders"))
        session.connection.execute(text("INSERT INTO orders (n) VALUES (-1)"))
        refusal = None
        try:
            settle_with_writes(writing, [outcome(claimed(session), *statements) for statements in jobs])
        except WriteRefused as refused:
            refusal = (refused.first, refused.last, refused.is_gone, refused.may_pass, str(refused.error))
        rows = session.connection.execute(text("SELECT n, state FROM orders ORDER BY n, state")).all()
        fared.append((refusal, rows))
    assert fared[0] == fared[1]


def random_writes(draw: random.Random, job: int) -> list[Any]:
    """One in four jobs has something wrong among them."""
    first = 1000 * job
    makers: list[Any] = [
        lambda n: [(INSERT, {"n": n + i}) for i in range(draw.choice((1, 2, 20)))],
        lambda n: [(TWICE, {"n": n + i}) for i in range(draw.choice((1, 2, 20)))],
        lambda n: [(RAISE, {"n": n - 50, "by": 1})],
        lambda n: [(REMOVE, {"ids": [n, n - 50]})],
        lambda n: [(text("SELECT n FROM orders WHERE n < :n"), {"n": n})],
    ]
    found = [write for place in range(draw.randint(1, 5)) for write in draw.choice(makers)(first + 50 * place)]
    if draw.random() < 0.25:
        wrong: list[Any] = [
            *((INSERT, {"n": -1}), (TWICE, {"n": -1}), (INSERT, {"n": 10**12}), (TWICE, {"n": object()})),
            *((NO_TABLE, {"n": 1}), (NO_VALUE, {"n": 1}), (REMOVE, {"ids": ["x"]}), (REMOVE, {"ids": 3})),
            (text("SELECT :s"), {"s": "\ud800"}),
        ]
        found.insert(draw.randrange(len(found) + 1), draw.choice(wrong))
    return found
