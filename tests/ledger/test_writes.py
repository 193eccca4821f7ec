"""What handlers have left to the completion of their jobs commits with it, once, in order, or not at all."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Executable,
    Integer,
    MetaData,
    Table,
    bindparam,
    delete,
    event,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError
from sqlalchemy.schema import CreateTable
from tests.ledger.samples import (
    OTHER_TOKEN,
    PROCESS,
    change,
    claimed,
    count,
    row_of,
    state_of,
    waiting_offer,
)

from penstock.ledger import database, settlement
from penstock.ledger.admission import Claim
from penstock.ledger.database import Ledger, LedgerUnavailable, Session
from penstock.ledger.settlement import Failure, Outcome, settle, settle_with_writes
from penstock.ledger.state import Reason, State
from penstock.ledger.tables import attempts
from penstock.ledger.writes import Write, WriteRefused, Writes, check_write

orders = Table("orders", MetaData(), Column("n", Integer), Column("state", Integer))
INSERT = text("INSERT INTO orders (n, state) VALUES (:n, 0)")
RAISE = text("UPDATE orders SET state = state * 10 + :by WHERE n = :n")
MISTAKE = text("INSERT INTO nowhere (n) VALUES (:n)")


@pytest.fixture
def writing(ledger: Ledger, session: Session) -> Iterator[Session]:
    """A session for writes, and a table for them."""
    session.connection.execute(CreateTable(orders))
    with ledger.writing_session() as writing:
        yield writing


def outcome(claim: Claim, *writes: tuple[Executable, Mapping[str, Any] | None], **fields: Any) -> Outcome:
    """The job is done, and leaves these writes."""
    return Outcome(claim.id, claim.token, State.COMPLETED, writes=declared(*writes), **fields)


def declared(*writes: tuple[Executable, Mapping[str, Any] | None]) -> Writes:
    """As a context gathers them."""

    def refused(error: Exception) -> Outcome:
        raise AssertionError("who settles does not ask what follows")

    return Writes(tuple(check_write(*write) for write in writes), refused)


def numbers(session: Session) -> list[int]:
    """The orders that stand, in the order in which they came."""
    rowid = "ctid" if session.dialect.name == "postgresql" else "rowid"
    return [row.n for row in session.connection.execute(text(f"SELECT n FROM orders ORDER BY {rowid}"))]


def test_writes_commit_with_the_completion_the_result_and_the_follow_ups(session: Session, writing: Session) -> None:
    """Of a whole batch, in one transaction; whoever only completes may be in it."""
    first, second, third = claimed(session), claimed(session), claimed(session)
    follow_up = waiting_offer(key="k")
    batch = [
        outcome(first, (INSERT, {"n": 1})),
        outcome(second, (INSERT, {"n": 2}), result=b'{"n":2}', follow_ups=(follow_up,)),
        Outcome(third.id, third.token, State.COMPLETED),
    ]
    assert settle_with_writes(writing, batch, process_id=PROCESS) == set()
    assert numbers(session) == [1, 2]
    rows = [row_of(session, claim.id) for claim in (first, second, third)]
    assert [(row.state, row.attempts, row.result) for row in rows] == [
        ("completed", 1, None),
        ("completed", 1, b'{"n":2}'),
        ("completed", 1, None),
    ]
    assert state_of(session, follow_up.message.id) == "available"


@pytest.mark.parametrize("fields", [{}, {"result": b"{}"}], ids=["plain", "with a result"])
def test_a_fenced_job_writes_nothing_and_its_neighbours_do(
    session: Session, writing: Session, fields: dict[str, Any]
) -> None:
    """Somebody else owns it by now, or has ended it."""
    mine, lost, ended = claimed(session), claimed(session), claimed(session)
    change(session, lost.id, token=OTHER_TOKEN)
    change(session, ended.id, state="dead", reason="attempts")
    follow_up = waiting_offer()
    batch = [
        outcome(lost, (INSERT, {"n": 1}), **fields, follow_ups=(follow_up,) if fields else ()),
        outcome(mine, (INSERT, {"n": 2}), **fields),
        outcome(ended, (INSERT, {"n": 3}), **fields),
    ]
    assert settle_with_writes(writing, batch) == {lost.id, ended.id}
    assert (numbers(session), state_of(session, lost.id), state_of(session, mine.id)) == ([2], "executing", "completed")
    assert state_of(session, follow_up.message.id) == "unseen"


@pytest.mark.parametrize("fields", [{}, {"result": b"{}"}], ids=["plain", "with a result"])
def test_a_batch_whose_commit_got_no_answer_is_not_written_again(
    session: Session, writing: Session, fields: dict[str, Any]
) -> None:
    """It had landed: it is not fenced, and its writes stand already."""
    done, later = claimed(session), claimed(session)
    assert settle_with_writes(writing, [outcome(done, (INSERT, {"n": 1}), **fields)]) == set()
    batch = [outcome(done, (INSERT, {"n": 1}), **fields), outcome(later, (INSERT, {"n": 2}), **fields)]
    assert settle_with_writes(writing, batch) == set()
    assert numbers(session) == [1, 2]


def test_one_claim_writes_once_however_often_it_is_in_a_batch(session: Session, writing: Session) -> None:
    """And an older claim of the same job not at all."""
    claim = claimed(session)
    stale = Outcome(claim.id, OTHER_TOKEN, State.COMPLETED, writes=declared((INSERT, {"n": 7})))
    batch = [stale, outcome(claim, (INSERT, {"n": 1})), outcome(claim, (INSERT, {"n": 1}))]
    settle_with_writes(writing, batch)
    assert numbers(session) == [1]


def test_writes_are_executed_job_after_job_in_the_order_of_their_calls(session: Session, writing: Session) -> None:
    """The same statement is not moved together: one job's update would miss, or meet, another one's row."""
    claims = [claimed(session) for _ in range(3)]
    batch = [
        outcome(claims[0], (INSERT, {"n": 1}), (RAISE, {"n": 1, "by": 1})),
        outcome(claims[1], (RAISE, {"n": 1, "by": 2}), (RAISE, {"n": 1, "by": 3})),
        outcome(claims[2], (delete(orders).where(orders.c.state == 123), None), (INSERT, {"n": 2})),
    ]
    settle_with_writes(writing, batch)
    assert numbers(session) == [2]


def test_neighbours_that_are_the_same_statement_go_out_together(session: Session, writing: Session) -> None:
    """Over the borders of jobs; other names of parameters are another statement."""
    insertion = insert(orders)
    seen = executed(writing)
    claims = [claimed(session) for _ in range(3)]
    batch = [
        outcome(claims[0], (insertion, {"n": 1}), (insertion, {"n": 2})),
        outcome(claims[1], (insertion, {"n": 3}), (insertion, {"n": 4, "state": 4})),
        outcome(claims[2], (insertion, {"n": 5, "state": 5}), (insertion.values(n=6), None), (insertion, {"n": 7})),
    ]
    settle_with_writes(writing, batch)
    assert numbers(session) == [1, 2, 3, 4, 5, 6, 7]
    assert seen == [3, 2, 1, 1]


def executed(session: Session) -> list[int]:
    """How many rows each INSERT into `orders` brought, from now on."""
    seen: list[int] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, ___: Any, executemany: bool) -> None:
        if statement.startswith("INSERT INTO orders"):
            seen.append(len(parameters) if executemany else 1)

    event.listen(session.connection, "before_cursor_execute", note)
    return seen


def test_a_statement_that_takes_one_row_at_a_time_gets_that(session: Session, writing: Session) -> None:
    """A list of ids is another text for each length."""
    removal = delete(orders).where(orders.c.n.in_(bindparam("ids", expanding=True)))
    claim = claimed(session)
    rows = [(INSERT, {"n": n}) for n in range(6)]
    settle_with_writes(
        writing, [outcome(claim, *rows, (removal, {"ids": [1, 2]}), (removal, {"ids": [4]}), (removal, {"ids": []}))]
    )
    assert numbers(session) == [0, 3, 5]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ((MISTAKE, {"n": 1}), DBAPIError),
        ((text("INSERT INTO orders (n) VALUES (:n), (:m)"), {"n": 1}), StatementError),
        ((text("DELETE FROM orders WHERE n = :n"), {"n": object()}), DBAPIError),
    ],
    ids=["no such table", "a parameter is missing", "no value of a database"],
)
def test_a_write_that_is_refused_leaves_nothing_of_its_batch_and_names_its_job(
    session: Session, writing: Session, wrong: Any, error: type[Exception]
) -> None:
    """By its place; the session is good for the rest."""
    claims = [claimed(session) for _ in range(3)]
    good = [
        outcome(claim, (INSERT, {"n": place}), (RAISE, {"n": place, "by": 1})) for place, claim in enumerate(claims)
    ]
    bad = outcome(claims[1], (INSERT, {"n": 1}), wrong)
    with pytest.raises(WriteRefused) as caught:
        settle_with_writes(writing, [good[0], bad, good[2]])
    assert (caught.value.first, caught.value.last, caught.value.may_pass) == (1, 1, False)
    assert isinstance(caught.value.error, error)
    assert [state_of(session, claim.id) for claim in claims] == ["executing"] * 3
    settle_with_writes(writing, [good[0], good[2]])
    assert numbers(session) == [0, 2]


def test_of_writes_that_go_out_together_each_may_be_the_guilty_one(session: Session, writing: Session) -> None:
    """The server does not say which row it was."""
    session.connection.execute(text("CREATE UNIQUE INDEX one_of_each ON orders (n)"))
    batch = [outcome(claimed(session), (INSERT, {"n": n})) for n in (1, 2, 2, 3)]
    with pytest.raises(WriteRefused) as caught:
        settle_with_writes(writing, batch)
    assert (caught.value.first, caught.value.last) == (0, 3)
    assert isinstance(caught.value.error, IntegrityError)


def test_a_constraint_that_is_checked_at_the_commit_names_the_whole_batch(postgres: Ledger) -> None:
    """Nothing of it stands."""
    with postgres.session() as session, postgres.writing_session() as writing:
        session.connection.execute(CreateTable(orders))
        session.connection.execute(text("ALTER TABLE orders ADD UNIQUE (n) DEFERRABLE INITIALLY DEFERRED"))
        batch = [outcome(claimed(session), (INSERT, {"n": 1})) for _ in range(2)]
        with pytest.raises(WriteRefused) as caught:
            settle_with_writes(writing, batch)
        assert (caught.value.first, caught.value.last) == (0, 1)
        assert numbers(session) == []
        assert settle_with_writes(writing, batch[1:]) == set()
        assert numbers(session) == [1]


def test_a_connection_that_is_lost_over_a_write_may_be_back(postgres: Ledger) -> None:
    """Who settles connects again, and tries it again."""
    with postgres.session() as session, postgres.writing_session() as writing:
        batch = [outcome(claimed(session), (text("SELECT pg_terminate_backend(pg_backend_pid())"), None))]
        with pytest.raises(WriteRefused) as caught:
            settle_with_writes(writing, batch)
        assert (caught.value.is_gone, caught.value.may_pass) == (True, True)


def test_what_follows_a_refusal_is_settled_as_ever(session: Session, writing: Session) -> None:
    """A retry with its failure, beside jobs that write."""
    failed, done = claimed(session), claimed(session)
    failure = Failure("failed", "IntegrityError", "refused")
    batch = [
        Outcome(failed.id, failed.token, State.RETRYABLE, delay_seconds=60, failure=failure),
        outcome(done, (INSERT, {"n": 1})),
    ]
    assert settle_with_writes(writing, batch, process_id=PROCESS) == set()
    assert [state_of(session, claim.id) for claim in (failed, done)] == ["retryable", "completed"]
    assert (count(session, attempts), numbers(session)) == (1, [1])


def test_outcomes_without_a_commit_of_their_own_writes_do_not_execute_them(session: Session, writing: Session) -> None:
    """A `settle` that knows nothing of writes would lose them, so it refuses."""
    claim = claimed(session)
    with pytest.raises(TypeError, match="settle_with_writes"):
        settle(session, [outcome(claim, (INSERT, {"n": 1}))])
    assert state_of(session, claim.id) == "executing"


def test_an_error_on_the_way_to_the_commit_leaves_nothing(
    session: Session, writing: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the session is good for the next attempt."""
    batch = [outcome(claimed(session), (INSERT, {"n": 1}))]

    def lose(_: object) -> None:
        raise LedgerUnavailable

    with monkeypatch.context() as patched:
        patched.setattr(settlement, "reach", lose)
        with pytest.raises(LedgerUnavailable):
            settle_with_writes(writing, batch)
    assert numbers(session) == []
    settle_with_writes(writing, batch)
    assert numbers(session) == [1]


SETTINGS: dict[str, str] = {
    **dict.fromkeys(("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "jit"), "on"),
    "lock_timeout": "5s",
    "statement_timeout": "30s",
    "transaction_isolation": "read committed",
}


@pytest.mark.parametrize("fields", [{}, {"result": b"{}"}], ids=["plain", "with a result"])
def test_statements_of_handlers_run_with_the_settings_of_handlers(postgres: Ledger, fields: dict[str, Any]) -> None:
    """The completion before them needs others."""
    with postgres.session() as session, postgres.writing_session() as writing:
        session.connection.execute(text("CREATE TABLE seen (name text, setting text)"))
        write = text("INSERT INTO seen SELECT name, current_setting(name) FROM unnest(CAST(:names AS text[])) AS name")
        for _ in range(2):
            settle_with_writes(writing, [outcome(claimed(session), (write, {"names": list(SETTINGS)}), **fields)])
        rows = session.connection.execute(text("SELECT DISTINCT name, setting FROM seen")).all()
        assert {row.name: row.setting for row in rows} == SETTINGS
        assert len(rows) == len(SETTINGS)


@pytest.mark.parametrize("guarded", [True, False], ids=["as it is", "without its settings"])
def test_a_completion_with_writes_takes_the_index_while_the_table_is_small(
    postgres: Ledger, monkeypatch: pytest.MonkeyPatch, *, guarded: bool
) -> None:
    """A plan is made then, and kept while the table grows."""
    walks = text("INSERT INTO walks SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relname = 'jobs'")
    if not guarded:
        monkeypatch.setattr(database, "BY_INDEX", {"jit": "off"})
    with postgres.session() as session, postgres.writing_session() as writing:
        session.connection.exec_driver_sql("CREATE TABLE walks (n bigint)")
        session.connection.exec_driver_sql("ANALYZE")
        for fields in ({}, {"result": b"{}"}):
            for _ in range(12):
                settle_with_writes(writing, [outcome(claimed(session), (walks, None), **fields)])
        assert (session.connection.exec_driver_sql("SELECT sum(n) FROM walks").scalar_one() == 0) is guarded


@pytest.mark.parametrize(
    ("statement", "parameters", "error", "said"),
    [
        ("INSERT INTO orders VALUES (1)", None, TypeError, r"takes text\('INSERT …'\) of SQLAlchemy, not a str"),
        (orders, None, TypeError, r"takes text\(\), insert\(\), update\(\) or delete\(\) of SQLAlchemy, not a Table"),
        (INSERT, [{"n": 1}], TypeError, "one mapping of parameters, like {'id': 7}, not a list; call it once for each"),
        (INSERT, (1,), TypeError, "one mapping of parameters"),
        (select(orders), None, ValueError, "gives nothing back"),
        (insert(orders).returning(orders.c.n), {"n": 1}, ValueError, "leave out returning()"),
        (text(" commit"), None, ValueError, "leave out COMMIT"),
        (text("Savepoint x"), None, ValueError, "leave out SAVEPOINT"),
        (text("DELETE FROM orders; -- so\n /* it\n is */ COMMIT"), None, ValueError, "leave out COMMIT"),
    ],
    ids=["a str", "a table", "a list", "a tuple", "a SELECT", "RETURNING", "COMMIT", "SAVEPOINT", "a second statement"],
)
def test_what_can_never_be_written_is_refused_with_what_to_give(
    statement: Any, parameters: Any, error: type[Exception], said: str
) -> None:
    """At the call, where its author sees the line."""
    with pytest.raises(error, match=said):
        check_write(statement, parameters)


@pytest.mark.parametrize(
    "write",
    [
        lambda: check_write(INSERT, {"n": 1}),
        lambda: check_write(insert(orders).from_select(["n"], select(orders.c.n)), None),
        lambda: check_write(update(orders).values(state=1), {}),
        lambda: check_write(text("SELECT setval('s', 1)"), None),
        lambda: check_write(text("DO $x$ BEGIN PERFORM 1; END $x$"), None),
        lambda: check_write(text("INSERT INTO orders VALUES ('no; COMMIT', 'it''s; END') -- ; COMMIT"), None),
    ],
)
def test_what_can_be_written_is_taken(write: Callable[[], Write]) -> None:
    """Also a text that calls a function; it may have an effect."""
    assert isinstance(write()[0], Executable)


def test_parameters_are_those_of_the_call(session: Session, writing: Session) -> None:
    """A handler may use its mapping again."""
    row = {"n": 1}
    write = check_write(INSERT, row)
    row["n"] = 2
    claim = claimed(session)
    settle_with_writes(
        writing, [Outcome(claim.id, claim.token, State.COMPLETED, writes=Writes((write,), declared().refused))]
    )
    assert numbers(session) == [1]


def test_a_dead_outcome_drops_its_writes_with_everything_else(session: Session, writing: Session) -> None:
    """Only a completion executes them."""
    claim = claimed(session)
    settle_with_writes(
        writing, [Outcome(claim.id, claim.token, State.DEAD, Reason.PERMANENT, writes=declared((INSERT, {"n": 1})))]
    )
    assert (state_of(session, claim.id), numbers(session)) == ("dead", [])
