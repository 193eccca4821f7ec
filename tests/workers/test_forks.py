"""What handlers fork has nothing of the worker's."""

import signal
from collections.abc import Iterator

import pytest
from tests.waiting import until
from tests.workers import jobs, jobs_forking
from tests.workers.pool import is_alive
from tests.workers.site import Site

MODULES = ["tests.workers.jobs", "tests.workers.jobs_forking"]
SOON_SECONDS = 15.0


@pytest.fixture(params=["embedded", "small", "full"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """A site of each transport, with no pool yet; what was forked on it ends."""
    fixture = {"embedded": "own_embedded_site", "small": "own_small_site", "full": "own_site"}[request.param]
    site: Site = request.getfixturevalue(fixture)
    site.make_effects_table()
    yield site
    site.sink.open_gate("end")
    forked = [event["child"] for event in site.sink.events("forked")]
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


@pytest.mark.parametrize("site", ["small"], indirect=True)
def test_a_transaction_is_the_worker_s_alone(site: Site) -> None:
    """Two processes on one connection would take each other's answers for their own."""
    with site.pool(modules=MODULES):
        row = site.run(jobs_forking.Intruding())
    assert [event["event"] for event in site.sink.events()] == ["refused"]
    assert (row["state"], site.effects()) == ("completed", ["by the worker"] * 2)
