"""Schedulers are killed while they fire."""

import os
import signal
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.faults.clockwork import come, keys_of_jobs
from tests.faults.points import Points
from tests.faults.readiness import consuming
from tests.faults.test_crash_points_of_ways_in import IN_SCHEDULER
from tests.waiting import until
from tests.workers.pool import REPOSITORY
from tests.workers.site import Site

from penstock.ledger.failpoints import Deed

SCHEDULERS = 2
ROUNDS = 5
SCHEDULES = 8


@pytest.mark.faults
def test_each_tick_fires_once_while_two_schedulers_are_killed_at_every_point(site: Site, tmp_path: Path) -> None:
    """In each round somebody is killed at his point in the middle of eight ticks, and the other one goes on."""
    points = Points(tmp_path)
    keys: dict[str, str] = {}
    with (
        site.pool(modules=["tests.faults.jobs"], threads=4, with_dispatcher=False) as pool,
        ExitStack() as stack,
    ):
        consuming(pool)
        schedulers = [_started(site, points, tmp_path, stack) for _ in range(SCHEDULERS)]
        for number, point in enumerate(IN_SCHEDULER * ROUNDS):
            points.arm(point, Deed.KILL)
            names = [f"{number}.{n}" for n in range(SCHEDULES)]
            keys |= {name: come(site.session, name) for name in names}
            pid = points.await_reached(point)
            [killed] = [it for it in schedulers if it.pid == pid]
            assert killed.wait(10) == -signal.SIGKILL
            schedulers.remove(killed)
            schedulers.append(_started(site, points, tmp_path, stack))
        until(
            lambda: set(keys.values()) <= set(site.effects()),
            timeout_seconds=60,
            what="the jobs of all ticks to run",
        )
        assert pool.stop() == 0
    assert {name: keys_of_jobs(site.session, name) for name in keys} == {name: [key] for name, key in keys.items()}
    assert Counter(site.effects()) == Counter(keys.values())


def _started(site: Site, points: Points, folder: Path, stack: ExitStack) -> subprocess.Popen[bytes]:
    """A `penstock dispatch`, dead at the end however the test went."""
    environment = {
        **os.environ,
        **points.environment,
        "PENSTOCK_DATABASE_URL": site.database_url,
        "PENSTOCK_BROKER_URL": site.broker_url,
        "PENSTOCK_STATE_DIR": str(folder / "state"),
    }
    log = stack.enter_context((folder / "dispatch.log").open("ab"))
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock.console", "dispatch"], cwd=REPOSITORY, env=environment, stdout=log, stderr=log
    )
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process
