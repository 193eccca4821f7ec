"""Who is blamed for a death, and who is held back by a neighbour."""

from collections import Counter

import pytest
from sqlalchemy import text
from tests.faults.jobs import Segfault, Transfer
from tests.faults.readiness import consuming
from tests.waiting import until
from tests.workers.site import Site


@pytest.mark.faults
def test_only_the_segfaulting_job_among_200_ends_dead(site: Site) -> None:
    """The others are completed, each in one attempt."""
    with site.pool(modules=["tests.faults.jobs"], processes=2, threads=4) as pool:
        consuming(pool)
        good = [site.publish(Transfer(n=n, work_seconds=0.002)).job_id for n in range(100)]
        bad = site.publish(Segfault(n=0)).job_id
        good += [site.publish(Transfer(n=n, work_seconds=0.002)).job_id for n in range(100, 200)]
        until(
            lambda: site.states() == {"completed": 200, "dead": 1},
            timeout_seconds=60,
            what="200 completed and one dead",
        )
        until(lambda: pool.logged("jobs freed", how="SIGSEGV", dead=[bad]), what="what is said after it was recorded")
        assert [bad in died["ran"] for died in pool.logged("process died", how="SIGSEGV")] == [True, True]
        assert [freed["dead"] for freed in pool.logged("jobs freed", how="SIGSEGV")] == [[], [bad]]
        assert pool.stop() == 0
    job = site.job(bad)
    assert (job["state"], job["reason"], job["crashes"]) == ("dead", "crash", 1)
    assert Counter(site.effects()) == Counter(good)
    others = text("SELECT DISTINCT attempts FROM jobs WHERE state = 'completed'")
    assert list(site.session.connection.execute(others).scalars()) == [1]


@pytest.mark.faults
def test_long_jobs_on_one_process_do_not_hold_back_short_ones_that_another_could_run(site: Site) -> None:
    """What a full process has been sent and cannot start goes back to the queue within a second or two."""
    with site.pool(modules=["tests.faults.jobs"], name="full", threads=2) as full:
        consuming(full)
        for n in range(2):
            site.publish(Transfer(n=n, gate="long"))
        site.sink.await_events("waiting", count=2)
        short = [site.publish(Transfer(n=n)).job_id for n in range(100)]
        with site.pool(modules=["tests.faults.jobs"], name="free", threads=2, with_dispatcher=False) as free:
            consuming(free)
            until(lambda: len(site.effects()) == 100, timeout_seconds=20, what="the short jobs beside the long ones")
            assert Counter(site.effects()) == Counter(short)
            assert site.states() == {"completed": 100, "executing": 2}
            site.sink.open_gate("long")
            until(lambda: site.states() == {"completed": 102}, what="the long jobs")
            assert free.stop() == 0
        assert full.stop() == 0
