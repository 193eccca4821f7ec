"""What a handler leaves to `ctx.write()` stands with its job's completion, on all three transports, or not at all."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from tests.workers import jobs
from tests.workers.samples import a_claim, an_entry, execute, executor
from tests.workers.site import Site

from penstock.ledger.settlement import Outcome
from penstock.ledger.state import Reason, State
from penstock.ledger.writes import WRITES_MAX
from penstock.schemas import Job
from penstock.workers import Context, handler
from penstock.workers.testing import Fault, InlineWorker, assert_published


@pytest.mark.parametrize(
    "job",
    [
        jobs.Leave(name="plain"),
        jobs.Leave(name="with a result", how="with a result"),
        jobs.Leave(name="after a failure", how="raises once"),
        jobs.Leave(name="after a refusal", how="refused once"),
        jobs.AsyncLeave(name="in a coroutine"),
        jobs.OnceLeave(name="at most once"),
    ],
    ids=lambda job: job.name,
)
def test_a_write_stands_once_when_its_job_is_completed(site: Site, job: Any) -> None:
    """Not what an attempt left that has failed."""
    site.make_effects_table()
    row = site.run(job)
    assert row["state"] == "completed"
    assert row["attempts"] == (2 if job.name.startswith("after") else 1)
    assert site.effects().count(job.name) == 1
    if isinstance(job, jobs.Leave):
        assert len(site.sink.await_events("ran", name=f"after {job.name}")) == 1


def test_the_writes_of_many_jobs_stand_once_each(site: Site) -> None:
    """However they were put together; and the figures are those of the jobs."""
    site.make_effects_table()
    before = site.running.metric("penstock_jobs_completed_total", type="test.async_leave")
    ids = [site.publish(jobs.AsyncLeave(name=f"many {n}")).job_id for n in range(100)]
    assert {site.await_end(job_id)["state"] for job_id in ids} == {"completed"}
    assert sorted(name for name in site.effects() if name.startswith("many ")) == sorted(
        f"many {n}" for n in range(100)
    )
    assert site.running.metric("penstock_jobs_completed_total", type="test.async_leave") == before + 100


@pytest.mark.parametrize(
    ("how", "said"),
    [("raises", "after the write"), ("refused", "no_such_column"), ("refused in a transaction", "no_such_column")],
)
def test_an_attempt_that_fails_leaves_nothing(site: Site, how: str, said: str) -> None:
    """Neither rows nor follow-ups; what the database refuses uses up attempts like what the handler raises."""
    site.make_effects_table()
    name = f"nothing when it {how}"
    row = site.run(jobs.Leave(name=name, how=how))
    assert (row["state"], row["reason"], row["attempts"]) == ("dead", "attempts", 2)
    assert [line["attempt"] for line in row["history"]] == [1, 2]
    assert said in row["error"]
    assert len(site.sink.events("started", job=row["id"])) == 2
    assert [name for name in site.effects() if name.startswith("nothing")] == []
    assert site.sink.events("ran", name=f"after {name}") == []


def test_a_job_that_is_cancelled_leaves_nothing(site: Site) -> None:
    """Only a completion writes."""
    site.make_effects_table()
    row = site.run(jobs.Leave(name="cancelled", how="cancels"))
    assert (row["state"], site.effects().count("cancelled")) == ("cancelled", 0)


def test_what_was_left_before_a_transaction_runs_in_it(site: Site) -> None:
    """Behind the handler's own statements, and before the completion."""
    site.make_effects_table()
    row = site.run(jobs.Leave(name="with both", how="transaction"))
    assert (row["state"], row["attempts"]) == ("completed", 1)
    assert [name for name in site.effects() if name.startswith("with both")] == ["with both", "with both inside"]


def test_a_write_after_the_transaction_comes_too_late(site: Site) -> None:
    """It would be lost: an error, which is logged."""
    site.make_effects_table()
    row = site.run(jobs.Leave(name="early", how="too late"))
    line = site.running.await_log("the handler raised after its transaction had completed the job", job_id=row["id"])
    assert line["error_class"] == "RuntimeError"
    assert [name for name in site.effects() if name.startswith("early")] == ["early", "early inside"]


def test_an_at_most_once_job_whose_write_is_refused_is_dead(site: Site) -> None:
    """It has run, and may not run again."""
    site.make_effects_table()
    row = site.run(jobs.OnceLeave(name="once refused", refused=True))
    assert (row["state"], row["reason"], row["attempts"]) == ("dead", "attempts", 1)
    assert len(site.sink.events("started", job=row["id"])) == 1


def test_a_locked_table_of_a_handler_holds_up_no_other_outcome(own_small_site: Site) -> None:
    """Its writes wait for it in a thread of their own."""
    site = own_small_site
    site.make_effects_table()
    with site.pool(threads=2), site.session.transaction():
        site.session.connection.execute(text("LOCK TABLE effects_of_tests"))
        waiting = [site.publish(jobs.Leave(name=f"locked out {n}")).job_id for n in range(5)]
        site.sink.await_events("started", count=5)
        assert site.run(jobs.Note(name="meanwhile"))["state"] == "completed"
        assert {site.job(job_id)["state"] for job_id in waiting} == {"executing"}
        site.session.connection.exec_driver_sql("COMMIT; BEGIN")
        assert {site.await_end(job_id)["state"] for job_id in waiting} == {"completed"}
    assert sorted(site.effects()) == [f"locked out {n}" for n in range(5)]


class Wants(Job, type="test.wants", queue="test", max_attempts=1):
    """A handler of the test's own."""


def outcome_of(act: Any) -> Outcome:
    """What follows a handler that does this with its context."""

    @handler(Wants)
    def want(job: Wants, ctx: Context) -> None:
        act(ctx)

    found = execute(want, Wants())
    assert isinstance(found, Outcome)
    return found


def test_a_handler_may_leave_so_many_writes_and_no_more() -> None:
    """They are to be one short transaction."""

    def leave(ctx: Context, count: int) -> None:
        for n in range(count):
            ctx.write(jobs.INSERT_ROW, {"name": str(n)})

    most = outcome_of(lambda ctx: leave(ctx, WRITES_MAX))
    assert most.state is State.COMPLETED
    assert most.writes is not None
    assert len(most.writes.statements) == WRITES_MAX
    more = outcome_of(lambda ctx: leave(ctx, WRITES_MAX + 1))
    assert (more.state, more.reason, more.writes) == (State.DEAD, Reason.ATTEMPTS, None)
    assert more.failure is not None
    assert f"ctx.write() takes {WRITES_MAX} statements of a job" in more.failure.message


def test_what_is_no_write_fails_the_attempt_where_it_stands() -> None:
    """The text says what to give instead."""
    outcome = outcome_of(lambda ctx: ctx.write("INSERT INTO effects_of_tests VALUES (1)"))
    assert outcome.failure is not None
    assert outcome.failure.error_class == "TypeError"
    assert "ctx.write() takes text('INSERT …') of SQLAlchemy" in outcome.failure.message


def test_a_refusal_is_judged_as_if_the_handler_had_raised_it() -> None:
    """By the classes that its contract calls permanent, and without the values of its payload; a connection that is
    lost again and again is nobody's fault."""

    class Touchy(Job, type="test.touchy", queue="test", permanent=(ZeroDivisionError,)):
        name: str

    @handler(Touchy)
    def leave(job: Touchy, ctx: Context) -> None:
        ctx.write(jobs.INSERT_ROW, {"name": job.name})

    outcome = executor().execute(a_claim(Touchy(name="confidential")), an_entry(leave))
    assert isinstance(outcome, Outcome)
    assert outcome.writes is not None
    dead = outcome.writes.refused(ZeroDivisionError("confidential is refused"))
    assert (dead.job_id, dead.token, dead.state, dead.reason) == (outcome.job_id, outcome.token, "dead", "permanent")
    assert dead.failure is not None
    assert dead.failure.message == "[redacted] is refused"
    retried = outcome.writes.refused(ValueError("no"))
    assert (retried.state, retried.counts) == (State.RETRYABLE, True)
    gone = OperationalError("INSERT …", {}, Exception("server closed the connection"), connection_invalidated=True)
    lost = outcome.writes.refused(gone)
    assert (lost.state, lost.counts, lost.trouble) == (State.AVAILABLE, False, True)


@pytest.fixture
def inline_url(ledger_url: str) -> str:
    """A ledger with the table that handlers write to."""
    from penstock.ledger.database import Ledger

    with Ledger(ledger_url).session() as session:
        session.connection.execute(text("CREATE TABLE effects_of_tests (name TEXT NOT NULL)"))
    return ledger_url


@pytest.mark.parametrize("fault", [None, Fault.SETTLE_LOST, Fault.DUPLICATE_DELIVERY])
def test_the_inline_worker_writes_too(
    inline_url: str, fault: Fault | None, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, whatever goes wrong around the handler."""
    monkeypatch.setenv("PENSTOCK_TEST_SINK", str(tmp_path / "sink"))
    with InlineWorker([jobs.leave_row, jobs.take_note], url=inline_url) as worker:
        if fault is not None:
            worker.inject(fault)
        job_id = worker.publish(jobs.Leave(name="inline", how="refused once"))
        worker.drain()
        row = worker.show(job_id)
        assert (row["state"], row["attempts"], len(row["history"])) == ("completed", 2, 1)
        written = worker.session.connection.execute(text("SELECT name FROM effects_of_tests")).scalars().all()
        assert written == ["inline"]
        assert_published(worker, jobs.Note, times=1, name="after inline")
