"""What users test their handlers with does itself what it says."""

from datetime import timedelta

import pytest
from tests.workers import jobs
from tests.workers.sink import VARIABLE, Sink

from penstock.ledger.jobs import count_states
from penstock.schemas import Backoff, Job
from penstock.workers import Context, handler
from penstock.workers.testing import FakeProducer, Fault, InlineWorker, assert_published


@pytest.fixture
def sink(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> Sink:
    """What the handlers of `jobs` note."""
    sink = Sink(tmp_path / "sink")  # type: ignore[operator]
    monkeypatch.setenv(VARIABLE, str(sink.path))
    return sink


class Stubborn(Job, type="test.stubborn", queue="test", retry=Backoff(base_seconds=1e6)):
    """Fails as often as it is told."""

    failures: int


@handler(Stubborn)
def give_in_at_last(job: Stubborn, ctx: Context) -> None:
    if ctx.attempt <= job.failures:
        raise ValueError("not yet")


class Restless(Job, type="test.restless", queue="test"):
    """Snoozes for ever."""


@handler(Restless)
def never_end(job: Restless, ctx: Context) -> None:
    ctx.snooze(3600)


def test_draining_waits_for_no_retry_and_no_delay() -> None:
    """A day, a backoff of weeks: all of it is due at once."""
    with InlineWorker([give_in_at_last]) as worker:
        job_id = worker.publish(Stubborn(failures=2), delay=timedelta(days=1))
        assert worker.drain() == [job_id] * 3
        row = worker.show(job_id)
    assert (row["state"], row["attempts"], len(row["history"])) == ("completed", 3, 2)


def test_draining_what_never_ends_is_an_error() -> None:
    """Not an endless test."""
    with InlineWorker([never_end]) as worker:
        worker.publish(Restless())
        with pytest.raises(AssertionError, match="not drained after 5 runs"):
            worker.drain(runs_max=5)


def test_a_coroutine_is_run_too(sink: Sink) -> None:
    """On a loop of the worker's own."""
    with InlineWorker([jobs.take_async_note]) as worker:
        worker.publish(jobs.AsyncNote(name="a"))
        worker.drain()
    assert [event["name"] for event in sink.events("ran")] == ["a"]


def test_a_crash_after_an_effect_repeats_it_under_its_key_and_blames_nobody(sink: Sink) -> None:
    """As the supervisor would have it: a suspect that runs alone, and is acquitted."""
    with InlineWorker([jobs.have_effect]) as worker:
        worker.inject(Fault.CRASH_AFTER_EFFECT)
        job_id = worker.publish(jobs.Effect(name="e"))
        worker.drain()
        row = worker.show(job_id)
    assert (row["state"], row["attempts"], row["crashes"]) == ("completed", 1, 0)
    assert [event["key"] for event in sink.events("effect")] == [f"{job_id}:send"] * 2
    assert [(step["needed"], step["repeated"]) for step in sink.events("step")] == [(True, False), (True, True)]


def test_a_crash_after_an_effect_that_nobody_may_repeat_parks_its_job(sink: Sink) -> None:
    """The declared policy decides."""
    with InlineWorker([jobs.have_parked_effect]) as worker:
        worker.inject(Fault.CRASH_AFTER_EFFECT)
        job_id = worker.publish(jobs.ParkedEffect(name="e", cut_off="never"))
        worker.drain()
        assert worker.show(job_id)["reason"] == "outcome_unknown"
    assert len(sink.events("effect")) == 1


def test_a_lost_settle_runs_a_handler_again_unless_it_may_run_only_once(sink: Sink) -> None:
    """What had no effect step of its own is done twice: that is what the test is to find out."""
    with InlineWorker([jobs.take_note]) as worker:
        worker.inject(Fault.SETTLE_LOST)
        worker.publish(jobs.Note(name="twice"))
        worker.drain()
    assert [event["attempt"] for event in sink.events("ran", name="twice")] == [1, 1]
    sink.open_gate("once")
    with InlineWorker([jobs.wait_at_gate_once]) as worker:
        worker.inject(Fault.SETTLE_LOST)
        job_id = worker.publish(jobs.OnceGated(name="once"))
        worker.drain()
        row = worker.show(job_id)
    assert (row["state"], row["reason"]) == ("dead", "outcome_unknown")
    assert len(sink.events("ran", name="once")) == 1


def test_a_duplicate_delivery_is_absorbed(sink: Sink) -> None:
    """The handler does not even see it."""
    with InlineWorker([jobs.take_note]) as worker:
        worker.inject(Fault.DUPLICATE_DELIVERY)
        worker.publish(jobs.Note(name="once"), key="k")
        worker.drain()
        assert count_states(worker.session) == {"completed": 1}
    assert len(sink.events("ran", name="once")) == 1


@pytest.mark.parametrize("fault", Fault)
def test_a_fault_that_never_happens_fails_the_test(fault: Fault, sink: Sink) -> None:
    """It would prove nothing."""
    worker = InlineWorker([jobs.take_note])
    worker.inject(fault)
    with pytest.raises(AssertionError, match=f"{fault.name} was injected and never happened, in 0 runs"), worker:
        pass


def test_what_was_published_is_found_by_class_key_and_fields(sink: Sink) -> None:
    """Also what handlers have published; and what was not is told beside what there is instead."""
    fake = FakeProducer()
    fake.publish_many([jobs.Note(name="a"), (jobs.Note(name="b"), "key")])
    assert assert_published(fake, jobs.Note, name="b", key="key", times=1) == [jobs.Note(name="b")]
    with pytest.raises(AssertionError, match=r"Note\(name='c'\) was published 0 times") as told:
        assert_published(fake, jobs.Note, name="c")
    assert "Note(name='a') key=None" in str(told.value)
    with InlineWorker([jobs.publish_children, jobs.take_note]) as worker:
        worker.publish(jobs.Parent(name="p"))
        worker.drain()
        assert_published(worker, jobs.Note, times=1, key="child of p")
        assert_published(worker, jobs.Effect, times=0)


def test_what_was_published_is_read_as_the_class_that_is_asked_for(sink: Sink) -> None:
    """Also where another test has defined the same contract in its own way, and the class is still there."""

    class Note(Job, type="test.note", queue="test"):
        title: str

    class Wish(Job):
        """Abstract: what is asked for may be one of several contracts."""

    class Trip(Wish, type="test.trip", queue="test"):
        to: str

    with InlineWorker([jobs.take_note]) as worker:
        worker.publish(jobs.Note(name="a"))
        worker.publish(Trip(to="b"))
        assert assert_published(worker, jobs.Note, times=1) == [jobs.Note(name="a")]
        assert assert_published(worker, Wish, times=1, to="b") == [Trip(to="b")]
    assert Note.contract().type == jobs.Note.contract().type
