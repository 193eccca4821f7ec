"""A supervisor is killed; the next one watches what is left of its processes, and takes nothing from the living."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.waiting import until
from tests.workers import jobs
from tests.workers.pool import RunningPool, is_alive
from tests.workers.site import Site

from penstock.workers.rescuer import LAPSE_SECONDS

pytestmark = pytest.mark.faults


@pytest.fixture(params=["postgres", "sqlite"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """Without RabbitMQ, on each kind of ledger: only heartbeats and locks tell there who lives."""
    fixture = {"postgres": "migrated_database_url", "sqlite": "sqlite_url"}[request.param]
    site = Site(request.getfixturevalue(fixture), "local", tmp_path)
    yield site
    site.close()


def succeed(pool: RunningPool) -> list[int]:
    """Kill the supervisor, start the next one at once; returns the workers that the first one has left."""
    orphans = pool.workers()
    pool.signal(signal.SIGKILL)
    pool.wait()
    pool.start()
    until(lambda: len(boards(pool)) == 2, what="the new board beside the old one")
    return orphans


def boards(pool: RunningPool) -> list[Path]:
    """The boards of the pool, old and new."""
    return list((pool.folder / "state" / "boards" / pool.name).glob("*.board"))


def locks(pool: RunningPool) -> list[Path]:
    """What tells which processes live; the slots of pools stay, for the next ones to take."""
    return [it for it in (pool.folder / "state" / "locks").glob("*.lock") if not it.name.startswith("pool-")]


def test_an_orphan_finishes_what_it_runs_and_nobody_takes_it_away(site: Site) -> None:
    """Within its grace; the board goes when it has ended."""
    with site.pool(threads=2) as pool:
        job_id = site.publish(jobs.Gated(name="orphan")).job_id
        once = site.publish(jobs.OnceGated(name="once")).job_id
        site.sink.await_events("started", job=job_id)
        site.sink.await_events("started", job=once)
        [orphan] = succeed(pool)
        assert site.run(jobs.Note(name="by the new one"))["state"] == "completed"
        assert is_alive(orphan)
        site.sink.open_gate("orphan")
        site.sink.open_gate("once")
        for each in (job_id, once):
            row = site.await_end(each)
            assert (row["state"], row["attempts"], row["losses"], row["history"]) == ("completed", 1, 0, [])
            assert len(site.sink.events("started", job=each)) == 1
        until(lambda: not is_alive(orphan), what="the orphan to end")
        until(lambda: len(boards(pool)) == 1, what="the old board to go")
        assert pool.stop() == 0
        assert locks(pool) == []


def test_what_an_orphan_ran_is_free_soon_after_it_is_killed(site: Site) -> None:
    """Not only when its heartbeat has lapsed; nobody is blamed, and what may not start twice is not."""
    with site.pool(threads=3) as pool:
        ids = [site.publish(jobs.Gated(name=f"lost {n}")).job_id for n in range(2)]
        once = site.publish(jobs.OnceGated(name="once")).job_id
        for job_id in (*ids, once):
            site.sink.await_events("started", job=job_id)
        [orphan] = succeed(pool)
        assert site.run(jobs.Note(name="by the new one"))["state"] == "completed"
        os.kill(orphan, signal.SIGKILL)
        killed = time.monotonic()
        for job_id in ids:
            site.sink.await_events("started", job=job_id, count=2)
        assert time.monotonic() - killed < LAPSE_SECONDS / 3
        for n, job_id in enumerate(ids):
            site.sink.open_gate(f"lost {n}")
            row = site.await_end(job_id)
            assert (row["state"], row["attempts"], row["losses"], row["crashes"]) == ("completed", 1, 1, 0)
        row = site.await_end(once)
        assert (row["state"], row["reason"]) == ("dead", "outcome_unknown")
        assert len(site.sink.events("started", job=once)) == 1
        until(lambda: len(boards(pool)) == 1, what="the old board to go")
        assert pool.stop() == 0
        assert locks(pool) == []
