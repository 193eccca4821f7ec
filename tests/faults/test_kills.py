"""Worker processes are killed at random every second, and once their supervisor. A quarter of the jobs leaves its
effect to `ctx.write()`."""

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.faults.jobs import Transfer
from tests.faults.readiness import consuming
from tests.waiting import until
from tests.workers.pool import RunningPool, is_alive
from tests.workers.site import Site

from penstock.producers import Producer
from penstock.workers import board
from penstock.workers.board import Page

JOBS = 5000
KILLS_MIN = 6
RECOVERY_SECONDS_MAX = 2.0


@pytest.mark.faults
@pytest.mark.alone
def test_5000_jobs_have_each_effect_once_while_processes_are_killed_every_second(site: Site) -> None:
    """No job lost, none done twice, nobody innocent blamed, and the jobs of a dead process are free again at once."""
    draw = random.Random(20261123)
    receipts: list[str] = []

    def publish() -> None:
        with Producer(site.broker_url) as producer:
            for n in range(0, JOBS, 100):
                batch = [Transfer(n=i, work_seconds=0.008, by_write=i % 4 == 0) for i in range(n, n + 100)]
                receipts.extend(receipt.job_id for receipt in producer.publish_many(batch))

    with site.pool(modules=["tests.faults.jobs"], processes=2, threads=4) as pool:
        consuming(pool)
        publisher = threading.Thread(target=publish)
        publisher.start()
        recoveries: list[float] = []
        while len(recoveries) < KILLS_MIN or (len(receipts) < JOBS and len(recoveries) < 30):
            recoveries.append(_kill_one(pool, site, draw))
            if len(recoveries) == KILLS_MIN // 2:
                _kill_supervisor(pool)
            _wait_a_second(pool, site, since=len(recoveries))
        publisher.join()
        until(
            lambda: site.states().get("completed", 0) >= JOBS,
            timeout_seconds=120,
            what="all jobs to be completed",
        )
        print(f"{len(recoveries)} kills; seconds to recovery: {', '.join(f'{it:.2f}' for it in sorted(recoveries))}")
        assert pool.stop() == 0

    assert site.states() == {"completed": JOBS}
    assert Counter(site.effects()) == Counter(receipts)
    blamed = "SELECT count(*) FROM jobs WHERE attempts <> 1 OR reason IS NOT NULL"
    assert site.session.connection.execute(text(blamed)).scalar() == 0
    assert max(recoveries) < RECOVERY_SECONDS_MAX


def _kill_one(pool: RunningPool, site: Site, draw: random.Random) -> float:
    """Kill a worker process; the seconds until nothing is left under its name and as many processes work as before."""
    workers = until(lambda: {page.process_id: page.pid for page in _working(pool)}, what="a worker process")
    process_id, pid = draw.choice(sorted(workers.items()))
    held = text("SELECT count(*) FROM jobs WHERE state = 'executing' AND process_id = :id")
    started = time.monotonic()
    pool.signal(signal.SIGKILL, pid)

    def is_recovered() -> bool:
        freed = site.session.connection.execute(held, {"id": process_id}).scalar() == 0
        return freed and len([page for page in _working(pool) if page.process_id != process_id]) >= len(workers)

    until(is_recovered, timeout_seconds=30, what="the recovery from a killed process")
    return time.monotonic() - started


def _working(pool: RunningPool) -> list[Page]:
    return [page for page in pool.pages() if page.kind == board.WORKER and page.state == board.RUNNING and page.pid]


def _kill_supervisor(pool: RunningPool) -> None:
    """Its children see the pipe close and stop by themselves; a new supervisor reads the old board."""
    children = pool.children()
    pool.signal(signal.SIGKILL)
    pool.wait()
    until(lambda: not any(map(is_alive, children)), timeout_seconds=60, what="the end of the orphans")
    pool.start()
    until(lambda: len(list(boards(pool))) == 1 and len(_working(pool)) == 2, timeout_seconds=60, what="new workers")


def boards(pool: RunningPool) -> Iterator[Path]:
    """The boards of the pool; an abandoned one goes away at the next start."""
    return (pool.folder / "state" / "boards" / pool.name).glob("*.board")


def _wait_a_second(pool: RunningPool, site: Site, *, since: int) -> None:
    """Work goes on between two kills: the next one comes when a second has passed."""
    until_ = time.monotonic() + 1.0
    until(lambda: time.monotonic() >= until_, what=f"a second after kill {since}")
