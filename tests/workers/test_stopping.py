"""SIGTERM: what runs finishes or is handed back, and nothing is used up."""

import os
import signal
from contextlib import suppress

from sqlalchemy import text
from tests.waiting import until
from tests.workers import jobs
from tests.workers.pool import children_of, is_alive
from tests.workers.site import Site


def test_what_finishes_within_the_grace_finishes(fresh_site: Site) -> None:
    """Started once, settled before the process ends; the exit status is 0."""
    site = fresh_site
    with site.pool() as pool:
        job_id = site.publish(jobs.Gated(name="soon")).job_id
        site.sink.await_events("started", job=job_id)
        pool.signal(signal.SIGTERM)
        pool.await_log("stopping")
        site.sink.open_gate("soon")
        assert pool.wait() == 0
    row = site.job(job_id)
    assert (row["state"], row["attempts"]) == ("completed", 1)
    assert len(site.sink.events("started", job=job_id)) == 1


def test_what_takes_longer_is_handed_back_unburnt_and_runs_elsewhere(fresh_site: Site) -> None:
    """The same holds for what was claimed or delivered and had not started."""
    site = fresh_site
    with site.pool(grace_seconds=0.5, threads=2) as pool:
        held = [site.publish(jobs.Gated(name="long")).job_id for _ in range(6)]
        site.sink.await_events("started", count=2)
        assert pool.stop() == 0
    for row in map(site.job, held):
        assert row.get("state", "available") == "available"
        assert row.get("attempts", 0) == 0
    site.sink.open_gate("long")
    with site.pool():
        rows = [site.await_end(job_id) for job_id in held]
    assert [(row["state"], row["attempts"], row["history"]) for row in rows] == [("completed", 1, [])] * 6
    assert len(site.sink.events("started")) == 8


def test_what_was_left_to_the_completion_is_written_before_the_process_ends(fresh_site: Site) -> None:
    """Of the jobs that have run; the others run elsewhere, and each writes once."""
    site = fresh_site
    site.make_effects_table()
    with site.pool() as pool:
        ids = [site.publish(jobs.AsyncLeave(name=f"{n:03}")).job_id for n in range(200)]
        until(site.effects, what="the first to be written")
        assert pool.stop() == 0
    states = site.states()
    assert "executing" not in states
    assert len(site.effects()) == states["completed"]
    with site.pool():
        assert {site.await_end(job_id)["state"] for job_id in ids} == {"completed"}
    assert site.effects() == [f"{n:03}" for n in range(200)]


def test_writes_that_wait_for_a_lock_when_the_process_ends_are_written_by_another(own_small_site: Site) -> None:
    """Nobody knows when the lock would have been free; no attempt is used up."""
    site = own_small_site
    site.make_effects_table()
    with site.pool(grace_seconds=1.0, constants={"process.FLUSH_SECONDS": 1.0}) as pool:
        with site.ledger.session() as other, other.transaction():
            other.connection.execute(text("LOCK TABLE effects_of_tests"))
            ids = [site.publish(jobs.Leave(name=f"{n}")).job_id for n in range(3)]
            site.sink.await_events("started", count=3)
            assert pool.stop() == 0
        assert [(site.job(it)["state"], site.job(it)["attempts"]) for it in ids] == [("available", 0)] * 3
    with site.pool():
        assert {site.await_end(job_id)["state"] for job_id in ids} == {"completed"}
    assert site.effects() == ["0", "1", "2"]


def test_an_at_most_once_job_that_is_interrupted_is_not_run_again(fresh_site: Site) -> None:
    """It had started; nobody knows how far it got."""
    site = fresh_site
    with site.pool(grace_seconds=0.2) as pool:
        job_id = site.publish(jobs.OnceGated(name="once")).job_id
        site.sink.await_events("started", job=job_id)
        assert pool.stop() == 0
    row = site.job(job_id)
    assert (row["state"], row["reason"]) == ("dead", "outcome_unknown")


def test_a_second_signal_ends_it_at_once(own_small_site: Site) -> None:
    """Without blame: it was our own hand."""
    site = own_small_site
    with site.pool(grace_seconds=60) as pool:
        job_id = site.publish(jobs.Gated(name="never")).job_id
        site.sink.await_events("started", job=job_id)
        pool.signal(signal.SIGTERM)
        pool.await_log("stopping")
        pool.signal(signal.SIGTERM)
        assert pool.wait(timeout_seconds=30) == 0
    row = site.job(job_id)
    assert (row["state"], row["attempts"], row["suspect"]) == ("available", 0, False)


def test_a_group_that_is_told_over_and_over_stops_in_order(fresh_site: Site) -> None:
    """By whoever stops the service, and each child by its supervisor: no signal waits for another one."""
    site = fresh_site
    with site.pool(processes=2) as pool:
        job_id = site.publish(jobs.Gated(name="soon")).job_id
        site.sink.await_events("started", job=job_id)
        children = children_of(pool.pid)
        pool.signal(signal.SIGTERM)
        pool.await_log("stopping")
        for child in children * 100:
            with suppress(ProcessLookupError):  # it has stopped
                pool.signal(signal.SIGTERM, child)
        site.sink.open_gate("soon")
        assert pool.wait() == 0
        assert not pool.logged("killing a process that has not stopped")
    assert (site.job(job_id)["state"], site.job(job_id)["attempts"]) == ("completed", 1)


def test_the_children_of_a_killed_supervisor_stop_by_themselves(fresh_site: Site) -> None:
    """They notice that the pipe has closed, finish what runs and are gone."""
    site = fresh_site
    with site.pool(processes=2) as pool:
        job_id = site.publish(jobs.Gated(name="orphan")).job_id
        site.sink.await_events("started", job=job_id)
        children = children_of(pool.pid)
        assert len(children) >= 4
        os.kill(pool.pid, signal.SIGKILL)
        pool.wait()
        site.sink.open_gate("orphan")
        assert site.await_end(job_id)["attempts"] == 1
        until(lambda: not any(map(is_alive, children)), what="all children to end")
        assert len(site.sink.events("started", job=job_id)) == 1


def test_a_stop_while_the_ledger_is_away_does_not_hang(own_small_site: Site) -> None:
    """A pool that never got a connection ends as well."""
    site = own_small_site
    nowhere = "postgresql://nobody@127.0.0.1:1/nothing"
    with site.pool(database_url=nowhere, wait=False) as pool:
        pool.await_log("waiting for the ledger")
        assert pool.stop(timeout_seconds=15) in (0, 1)
