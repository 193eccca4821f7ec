"""Two releases side by side, forward and back again: F28."""

from collections import Counter

import pytest
from tests.faults.jobs import Transfer
from tests.faults.next_jobs import Refund, Transfer2
from tests.faults.readiness import consuming
from tests.waiting import until
from tests.workers.pool import RunningPool
from tests.workers.site import Site

from penstock.ledger.jobs import hurry_job

pytestmark = pytest.mark.faults

OLD, NEW = ["tests.faults.jobs"], ["tests.faults.next_jobs"]
# What a release does not know waits for one that does: a second here, half a minute otherwise.
CONSTANTS = {"reading.UNKNOWN_DELAY_SECONDS": 1.0, "intake.UNKNOWN_DELAY_SECONDS": 1.0}


def test_a_rolling_deploy_and_its_rollback_lose_nothing_and_use_up_nothing(site: Site) -> None:
    """N, N beside N+1, N alone again with jobs of N+1 in the queue, and N+1 at last."""
    published: list[str] = []

    def publish_all() -> None:
        for n in range(40):
            jobs = (Transfer(n=n, work_seconds=0.01), Transfer2(number=n), Refund(n=n))
            published.extend(site.publish(job).job_id for job in jobs)

    def done() -> int:
        return site.states().get("completed", 0)

    with _pool(site, OLD, "old") as old, _pool(site, NEW, "new") as new:
        consuming(old)
        consuming(new)
        publish_all()
        until(lambda: done() > 20, timeout_seconds=30, what="some to be done")
        assert new.stop() == 0  # rolled back under load
        publish_all()
        until(lambda: done() >= 80, timeout_seconds=30, what="what the old release knows")
        assert done() < len(published)
        assert old.stop() == 0
        with _pool(site, NEW, "newer") as newer:
            consuming(newer)
            for job_id in published:
                hurry_job(site.session, job_id, actor="test")  # it would wait for up to ten minutes
            until(lambda: site.states() == {"completed": len(published)}, timeout_seconds=60, what="the end of all")
            assert newer.stop() == 0
    assert Counter(site.effects()) == Counter(published)
    assert {site.job(job_id)["attempts"] for job_id in published} == {1}
    assert [site.job(job_id)["history"] for job_id in published if site.job(job_id)["history"]] == []


def _pool(site: Site, modules: list[str], name: str) -> RunningPool:
    return site.pool(modules=modules, name=name, threads=2, constants=CONSTANTS, with_dispatcher=name != "new")
