"""A host that stands still, is taken for dead, and goes on: a virtual machine that was moved, a laptop that slept."""

import signal
from pathlib import Path

import pytest
from tests.faults.jobs import BriefTransfer, Post
from tests.faults.points import Points
from tests.faults.provider import VARIABLE, Provider
from tests.faults.readiness import consuming
from tests.waiting import until
from tests.workers.site import Site

from penstock.ledger.failpoints import Deed, Failpoint

pytestmark = pytest.mark.faults


def test_a_pool_that_was_paused_and_rescued_writes_nothing_when_it_goes_on(
    site_without_broker: Site, tmp_path: Path
) -> None:
    """The server ends the transaction that it held open; what it then settles is fenced."""
    site, points = site_without_broker, Points(tmp_path)
    with Provider(tmp_path) as provider:
        environment = {**points.environment, VARIABLE: provider.address}
        modules = ["tests.faults.jobs"]
        with site.pool(
            modules=modules, name="paused", processes=2, threads=1, with_dispatcher=False, environment=environment
        ) as paused:
            consuming(paused)
            points.arm(Failpoint.COMMITTING, Deed.STOP)
            open_transaction = site.publish(BriefTransfer(n=1)).job_id
            points.await_reached(Failpoint.COMMITTING)
            points.arm(Failpoint.RETURNED, Deed.STOP)
            unsettled = site.publish(Post(n=1)).job_id
            points.await_reached(Failpoint.RETURNED)
            paused.signal(signal.SIGSTOP)
            frozen = [paused.pid, *paused.workers()]
            with site.pool(modules=modules, name="rescuing", environment=environment) as rescuing:
                rows = [site.await_end(job_id, timeout_seconds=60) for job_id in (open_transaction, unsettled)]
                for pid in frozen:
                    paused.signal(signal.SIGCONT, pid)
                until(lambda: paused.metric("penstock_jobs_fenced_total") >= 2, what="two fenced")
                assert paused.stop() == 0
                assert rescuing.stop() == 0
        assert [(row["state"], row["attempts"], row["losses"]) for row in rows] == [("completed", 1, 1)] * 2
        assert site.states() == {"completed": 2}
        assert site.effects() == [open_transaction]
        assert [line["job"] for line in provider.effects()] == [unsettled]
