"""The settler of writes: jobs that leave writes are completed together, and what is refused stops nobody else."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Executable, text
from tests.ledger.samples import row_of, state_of
from tests.servers.proxy import Proxy
from tests.waiting import until
from tests.workers.settling import Settling, completed

from penstock.ledger import database, failpoints, writes
from penstock.ledger.admission import Claim
from penstock.ledger.database import Ledger, Session
from penstock.ledger.failpoints import Deed, Failpoint
from penstock.ledger.settlement import Failure, Outcome
from penstock.ledger.state import State
from penstock.ledger.writes import Writes, check_write

INSERT = text("INSERT INTO orders (n) VALUES (:n)")
MISTAKE = text("INSERT INTO nowhere (n) VALUES (:n)")


@pytest.fixture
def ledger(ledger_url: str) -> Ledger:
    """A migrated, empty ledger."""
    return Ledger(ledger_url)


@pytest.fixture
def postgres(migrated_database_url: str) -> Ledger:
    """The same on Postgres."""
    return Ledger(migrated_database_url)


@pytest.fixture
def session(ledger: Ledger) -> Iterator[Session]:
    """A session of the test's own, and the table of its handlers."""
    yield from with_orders(ledger)


@pytest.fixture
def postgres_session(postgres: Ledger) -> Iterator[Session]:
    """The same on Postgres."""
    yield from with_orders(postgres)


def with_orders(ledger: Ledger) -> Iterator[Session]:
    with ledger.session() as session:
        session.connection.execute(text("CREATE TABLE orders (n INTEGER UNIQUE, raised INTEGER DEFAULT 0)"))
        yield session


def leaving(claim: Claim, *writes: tuple[Executable, dict[str, Any] | None]) -> Outcome:
    """Completed with these writes; what is refused will be retried in a minute."""

    def refused(error: Exception) -> Outcome:
        failure = Failure("failed", type(error).__name__, str(error))
        return Outcome(claim.id, claim.token, State.RETRYABLE, delay_seconds=60, failure=failure)

    return completed(claim, writes=Writes(tuple(check_write(*write) for write in writes), refused))


def settle_all(settling: Settling, outcomes: list[Outcome]) -> None:
    """One batch, to its end."""
    for outcome in outcomes:
        settling.settler.put(outcome)
    settling.settler.start()
    assert settling.settler.stop(60)


def orders(session: Session) -> list[int]:
    return list(session.connection.execute(text("SELECT n FROM orders ORDER BY n")).scalars())


@pytest.mark.parametrize("guilty", [(2,), (0,), (7,), (3, 4), (0, 1, 2, 3, 4, 5, 6, 7)], ids=str)
@pytest.mark.parametrize("mistake", [(MISTAKE, {"n": 1}), (INSERT, {"n": 99})], ids=["by itself", "in a group"])
def test_a_write_that_is_refused_fails_only_its_own_job(
    ledger: Ledger, session: Session, guilty: tuple[int, ...], mistake: Any
) -> None:
    """Its neighbours are completed with theirs, and the figures tell what has become of each."""
    session.connection.execute(text("INSERT INTO orders (n) VALUES (99)"))
    settling = Settling(ledger, with_writes=True)
    claims = [settling.claim(session) for _ in range(8)]
    writes = [[(INSERT, {"n": n}), *([mistake] if n in guilty else [])] for n in range(8)]
    settle_all(settling, [leaving(claim, *each) for claim, each in zip(claims, writes, strict=True)])
    states = [state_of(session, claim.id) for claim in claims]
    assert states == ["retryable" if n in guilty else "completed" for n in range(8)]
    assert orders(session) == [*(n for n in range(8) if n not in guilty), 99]
    assert [settling.states[claim.id] for claim in claims] == states
    assert sorted(job_id for ids, _ in settling.batches for job_id in ids) == sorted(claim.id for claim in claims)
    assert settling.holding.claims == {}
    assert row_of(session, claims[guilty[0]].id).attempts == 1


def test_jobs_that_need_each_others_rows_run_in_their_order_also_when_some_are_refused(
    ledger: Ledger, session: Session
) -> None:
    """The third takes what the first has left; the second is refused in between."""
    settling = Settling(ledger, with_writes=True)
    claims = [settling.claim(session) for _ in range(3)]
    take = text("UPDATE orders SET raised = 10 / (SELECT COUNT(*) FROM orders) WHERE n = 1")
    outcomes = [
        leaving(claims[0], (text("INSERT INTO orders (n) VALUES (1)"), None)),
        leaving(claims[1], (INSERT, {"n": 2}), (INSERT, {"n": 1})),
        leaving(claims[2], (take, None)),
    ]
    settle_all(settling, outcomes)
    assert [state_of(session, claim.id) for claim in claims] == ["completed", "retryable", "completed"]
    assert session.connection.execute(text("SELECT n, raised FROM orders")).all() == [(1, 10)]


@pytest.mark.parametrize("point", [Failpoint.SETTLING, Failpoint.COMMITTING, Failpoint.SETTLED])
def test_an_answer_that_is_lost_there_writes_nothing_twice(
    ledger: Ledger, session: Session, point: Failpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch is sent again; the table of this one has no constraint that would hide a double."""
    session.connection.execute(text("CREATE TABLE sums (n INTEGER)"))
    monkeypatch.setattr(failpoints, "FOLDER", str(tmp_path))
    (tmp_path / point).write_text(Deed.LOSE)
    settling = Settling(ledger, with_writes=True)
    claims = [settling.claim(session) for _ in range(3)]
    settle_all(settling, [leaving(claim, (text("INSERT INTO sums VALUES (:n)"), {"n": 1})) for claim in claims])
    assert not (tmp_path / point).exists()
    assert session.connection.execute(text("SELECT COUNT(*) FROM sums")).scalar() == 3
    assert settling.batches == [([claim.id for claim in claims], set())]
    assert {state_of(session, claim.id) for claim in claims} == {"completed"}


def test_a_commit_whose_reply_is_lost_with_its_connection_writes_nothing_twice(
    postgres: Ledger, postgres_session: Session
) -> None:
    """The server has done it; only the row can tell."""
    session = postgres_session
    session.connection.execute(text("CREATE TABLE sums (n INTEGER)"))
    with Proxy(postgres.url.render_as_string(hide_password=False)) as proxy:
        settling = Settling(Ledger(proxy.url), with_writes=True)
        proxy.to_server.last_words = b"COMMIT"
        claims = [settling.claim(session) for _ in range(3)]
        settle_all(settling, [leaving(claim, (text("INSERT INTO sums VALUES (:n)"), {"n": 1})) for claim in claims])
        assert proxy.accepted == 2
    assert session.connection.execute(text("SELECT COUNT(*) FROM sums")).scalar() == 3
    assert settling.batches == [([claim.id for claim in claims], set())]


def test_a_fenced_job_writes_nothing_and_is_reported(ledger: Ledger, session: Session) -> None:
    """Somebody else owns it by now."""
    settling = Settling(ledger, with_writes=True)
    mine, lost = settling.claim(session), settling.claim(session)
    session.connection.execute(text(f"UPDATE jobs SET token = 1 WHERE id = '{lost.id}'"))
    settle_all(settling, [leaving(lost, (INSERT, {"n": 1})), leaving(mine, (INSERT, {"n": 2}))])
    assert (orders(session), settling.batches) == ([2], [([lost.id, mine.id], {lost.id})])


def test_a_settler_without_outcomes_has_neither_a_thread_nor_a_connection() -> None:
    """Most processes have no handler that leaves writes."""

    def connect() -> Session:
        raise AssertionError("nobody has asked for it")

    settling = Settling(Ledger("sqlite:///nowhere.db"), with_writes=True)
    settling.settler._connect = connect
    before = threading.active_count()
    assert settling.settler.is_healthy
    assert settling.settler.stop(1)
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("pipelined_min", "batches"), [(10**9, [1, 2]), (writes.PIPELINED_MIN, [1, 1])], ids=["one by one", "pipelined"]
)
def test_two_batches_that_wait_for_each_other_are_both_written(
    postgres: Ledger,
    postgres_session: Session,
    monkeypatch: pytest.MonkeyPatch,
    pipelined_min: int,
    batches: list[int],
) -> None:
    """Postgres ends one of them, which is written in smaller parts, or one statement after the other where it was not;
    nobody has failed."""
    monkeypatch.setattr(writes, "PIPELINED_MIN", pipelined_min)
    session = postgres_session
    session.connection.execute(text("INSERT INTO orders (n) VALUES (1), (2)"))
    raising = text("UPDATE orders SET raised = raised + 1 WHERE n = :n")
    pause = text("SELECT pg_sleep(0.3)")
    settlings = [Settling(postgres, with_writes=True) for _ in range(2)]
    for settling, (first, second) in zip(settlings, ((1, 2), (2, 1)), strict=True):
        for n, rest in ((first, [(pause, None)]), (second, [])):
            settling.settler.put(leaving(settling.claim(session), (raising, {"n": n}), *rest))
    for settling in settlings:
        settling.settler.start()
    for settling in settlings:
        assert settling.settler.stop(30)
    assert [set(settling.states.values()) for settling in settlings] == [{"completed"}] * 2
    assert sorted(len(settling.batches) for settling in settlings) == batches
    assert session.connection.execute(text("SELECT n, raised FROM orders ORDER BY n")).all() == [(1, 2), (2, 2)]


DEADLOCK = "DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$"


@pytest.mark.parametrize(
    "statement", ["SELECT pg_terminate_backend(pg_backend_pid())", DEADLOCK], ids=["connection lost", "deadlock"]
)
def test_what_might_pass_and_never_does_is_given_up_at_last(
    postgres: Ledger, postgres_session: Session, statement: str
) -> None:
    """A statement that ends its connection each time must not hold up the others for ever."""
    session = postgres_session
    settling = Settling(postgres, with_writes=True)
    claims = [settling.claim(session) for _ in range(3)]
    writes: list[list[Any]] = [[(INSERT, {"n": 0})], [(text(statement), None)], [(INSERT, {"n": 2})]]
    settle_all(settling, [leaving(claim, *each) for claim, each in zip(claims, writes, strict=True)])
    assert [state_of(session, claim.id) for claim in claims] == ["completed", "retryable", "completed"]
    assert orders(session) == [0, 2]


LOST_AT_FIRST = "SELECT CASE WHEN nextval('tries') < 4 THEN pg_terminate_backend(pg_backend_pid()) END"
DEADLOCK_AT_FIRST = "DO $$ BEGIN IF nextval('tries') < 4 THEN RAISE SQLSTATE '40P01'; END IF; END $$"


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("statement", [LOST_AT_FIRST, DEADLOCK_AT_FIRST], ids=["connection lost", "deadlock"])
def test_what_passes_is_tried_again_wherever_it_stands_in_its_batch(
    postgres: Ledger, postgres_session: Session, statement: str, place: int
) -> None:
    """Three times it fails, and nobody's attempt does."""
    session = postgres_session
    session.connection.execute(text("CREATE SEQUENCE tries"))
    settling = Settling(postgres, with_writes=True)
    claims = [settling.claim(session) for _ in range(3)]
    outcomes = [leaving(claim, (INSERT, {"n": n})) for n, claim in enumerate(claims)]
    outcomes[place] = leaving(claims[place], (text(statement), None), (INSERT, {"n": place}))
    settle_all(settling, outcomes)
    assert [state_of(session, claim.id) for claim in claims] == ["completed"] * 3
    assert orders(session) == [0, 1, 2]


def test_a_lock_that_is_not_to_be_had_fails_the_attempt_of_who_wants_it(
    postgres: Ledger, postgres_session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the time that handlers have for a lock; the jobs around it are completed meanwhile."""
    monkeypatch.setattr(database, "LOCK_TIMEOUT_SECONDS", 0.2)
    session = postgres_session
    session.connection.execute(text("INSERT INTO orders (n) VALUES (99)"))
    settling = Settling(postgres, with_writes=True)
    claims = [settling.claim(session) for _ in range(3)]
    removal = text("DELETE FROM orders WHERE n = 99")
    writes: list[list[Any]] = [[(INSERT, {"n": 0})], [(removal, None)], [(INSERT, {"n": 2})]]
    with postgres.session() as other, other.transaction():
        other.connection.execute(text("SELECT 1 FROM orders WHERE n = 99 FOR UPDATE"))
        settle_all(settling, [leaving(claim, *each) for claim, each in zip(claims, writes, strict=True)])
    assert [state_of(session, claim.id) for claim in claims] == ["completed", "retryable", "completed"]
    assert orders(session) == [0, 2, 99]


def test_a_bad_result_beside_writes_is_dead_without_them(ledger: Ledger, session: Session) -> None:
    """The ledger refuses it, not the handler's table."""
    settling = Settling(ledger, with_writes=True)
    bad, good = settling.claim(session), settling.claim(session)
    outcome = leaving(bad, (INSERT, {"n": 1}))
    outcome.result = b"\xff\xfe"
    settle_all(settling, [outcome, leaving(good, (INSERT, {"n": 2}))])
    assert [state_of(session, claim.id) for claim in (bad, good)] == ["dead", "completed"]
    assert (orders(session), settling.states[bad.id]) == ([2], "dead")


def test_who_waits_for_an_outcome_waits_for_its_writes(ledger: Ledger, session: Session) -> None:
    """An at-most-once job is off the board only then; also when it is refused."""
    settling = Settling(ledger, with_writes=True)
    settling.settler.start()
    acts: list[Callable[[Claim], Outcome]] = [
        lambda claim: leaving(claim, (INSERT, {"n": 1})),
        lambda claim: leaving(claim, (MISTAKE, {"n": 1})),
    ]
    for act, state in zip(acts, ("completed", "retryable"), strict=True):
        claim = settling.claim(session)
        settling.settler.put_and_wait(act(claim))
        assert state_of(session, claim.id) == state
    assert settling.settler.stop(10)


def test_an_outage_outlasts_the_writes_of_nobody(ledger: Ledger, session: Session) -> None:
    """What could not be written in time is neither counted nor forgotten."""
    settling = Settling(Ledger("postgresql://nobody@127.0.0.1:1/nothing"), with_writes=True)
    claim = settling.claim(session)
    settling.settler.put(leaving(claim, (INSERT, {"n": 1})))
    settling.settler.start()
    assert not settling.settler.stop(0.1)
    until(lambda: not settling.settler._thread.is_alive(), what="the thread to give up")
    assert (settling.batches, list(settling.holding.claims)) == ([], [claim.id])
