"""What handlers fork has nothing of the worker's."""

import signal
from collections.abc import Iterator

import pytest
from tests.waiting import until
from tests.workers import jobs, jobs_forking
from tests.workers.pool import is_alive
from tests.workers.site import Site

from penstock.schemas import Job

MODULES = ["tests.workers.jobs", "tests.workers.jobs_forking"]
SOON_SECONDS = 15.0


@pytest.fixture
def site(fresh_site: Site) -> Iterator[Site]:
    """With a table for what handlers write; what was forked on it ends."""
    fresh_site.make_effects_table()
    yield fresh_site
    fresh_site.sink.open_gate("end")
    forked = [event["child"] for event in fresh_site.sink.events("forked")]
    until(lambda: not any(map(is_alive, forked)), what="the end of what was forked")


def test_a_handler_may_end_a_process_of_its_own(site: Site) -> None:
    """`multiprocessing` does it with the signal that stops us, and waits until it is gone."""
    with site.pool(modules=MODULES):
        row = site.run(jobs_forking.Brief())
    assert (row["state"], row["history"]) == ("completed", [])
    assert [event["code"] for event in site.sink.events("ran")] == [-signal.SIGTERM]


def test_what_outlives_a_killed_worker_holds_up_no_job(site: Site) -> None:
    """Neither what RabbitMQ would go on sending to the dead consumer, nor what needs a lock of its transaction."""
    with site.pool(modules=MODULES):
        killed = site.publish(jobs_forking.Outlived()).job_id
        [forked] = site.sink.await_events("forked")
        others = [site.publish(jobs.Note(name=f"{n}")).job_id for n in range(20)]
        until(lambda: site.states() == {"completed": 21}, timeout_seconds=SOON_SECONDS, what="all jobs to be completed")
        assert is_alive(forked["child"])
    assert site.effects() == ["once"]
    assert {site.job(it)["attempts"] for it in [killed, *others]} == {1}


def test_what_outlives_a_killed_worker_and_its_supervisor_is_not_taken_for_the_worker(site: Site) -> None:
    """The next supervisor knows the dead by their locks."""
    with site.pool(modules=MODULES) as pool:
        site.publish(jobs_forking.Outlived(with_supervisor=True))
        pool.wait()
        [forked] = site.sink.await_events("forked")
        with site.pool(modules=MODULES):
            until(lambda: site.states() == {"completed": 1}, timeout_seconds=SOON_SECONDS, what="the job to be done")
            assert is_alive(forked["child"])
    assert site.effects() == ["once"]


@pytest.mark.parametrize(
    ("job", "said"), [(jobs_forking.Intruding(), "refused"), (jobs_forking.Unwinding(), "unwound")]
)
@pytest.mark.parametrize("fresh_site", ["embedded", "small"], indirect=True)
def test_a_transaction_is_the_worker_s_alone(site: Site, job: Job, said: str) -> None:
    """Two processes on one connection would take each other's answers, or uncommitted pages, for their own."""
    with site.pool(modules=MODULES):
        row = site.run(job)
    assert [event["event"] for event in site.sink.events()] == [said]
    assert row["state"] == "completed"
    assert site.effects() == [row["name"] for row in jobs_forking.ROWS]


@pytest.mark.parametrize("how", ["error", "exit", "return"])
def test_what_comes_back_from_a_handler_is_no_second_worker(site: Site, how: str) -> None:
    """It has a copy of all that the worker has claimed, and would run it."""
    with site.pool(modules=MODULES, threads=1) as pool:
        forking = site.publish(jobs_forking.Stray(how=how)).job_id
        others = [site.publish(jobs.Note(name=f"{n}")).job_id for n in range(20)]
        site.sink.open_gate("fork")
        assert {site.await_end(it)["state"] for it in [forking, *others]} == {"completed"}
        assert "a process that a handler had forked came back" in pool.log_text()
    assert [event["code"] for event in site.sink.events("ended")] == [1]
    assert [site.sink.repeated("ran"), len(site.sink.events("ran"))] == [{}, 20]


@pytest.mark.parametrize("how", ["error", "exit", "return", "await"])
def test_what_comes_back_to_the_event_loop_runs_no_other_coroutine(site: Site, how: str) -> None:
    """They are those of the worker."""
    with site.pool(modules=MODULES, threads=4):
        neighbours = [site.publish(jobs_forking.Neighbour()).job_id for _ in range(3)]
        site.sink.await_events("started", count=3)
        forking = site.publish(jobs_forking.AsyncStray(how=how)).job_id
        site.sink.open_gate("fork")
        assert {site.await_end(it)["state"] for it in [forking, *neighbours]} == {"completed"}
    assert [event["code"] for event in site.sink.events("ended")] == [1]
    assert [site.sink.repeated("ran"), len(site.sink.events("ran"))] == [{}, 3]
    assert site.sink.events("went on") == []


def test_what_a_fork_forks_is_left_alone(site: Site) -> None:
    """Its files and its handlers are its own, whatever their numbers were before."""
    with site.pool(modules=MODULES):
        site.run(jobs_forking.OfItsOwn())
    assert [event["names"] for event in site.sink.events("files")] == [["/etc/hostname"]]
    assert [event["code"] for event in site.sink.events("ended")] == [42]
