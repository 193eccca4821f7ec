"""How fast a queue is drained while a million jobs that ended long ago are pruned, as the rescuer does it, beside the
same without; and how many are pruned in a second.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
from benchmarks.contenders import Penstock
from benchmarks.drain import run_all
from benchmarks.growth.filling import fill_finished
from benchmarks.load import Load
from benchmarks.rounds import Figure, Line, Measurement, Ratio, Sample, main
from benchmarks.site import fresh_site, site_on

from penstock.ledger.database import Ledger
from penstock.ledger.retention import prune
from penstock.workers.rescuer import PRUNE_BUSY_SECONDS, READ_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.servers import Servers

OLD = 1_000_000
DAYS_AGO = 30
JOBS = 120_000

LINES: tuple[Line, ...] = (
    Ratio("drain: while old jobs are pruned : before", "while", "before", at_least=0.8),
    Figure("old jobs pruned per second of that", "pruned"),
)


def measure(servers: Servers, scale: float) -> Sample:
    """One round, on one ledger."""
    old = round(OLD * scale)
    with fresh_site(servers) as site, psycopg.connect(site.database, autocommit=True) as sql:
        fill_finished(site.database, old, days_ago=DAYS_AGO)
        before = drain_on(servers, site.ledger)
        started = time.monotonic()
        with pruning(site.ledger):
            during = drain_on(servers, site.ledger)
        seconds = time.monotonic() - started
        [left] = sql.execute("SELECT count(*) FROM jobs WHERE id < %s", [site.since]).fetchone() or [0]
    return {"before": before, "while": during, "pruned": (old - left) / seconds}


def drain_on(servers: Servers, ledger: str) -> float:
    load = Load("noop", JOBS)
    with site_on(servers, ledger) as site:
        Penstock().fill(site, load)
        return run_all(site, Penstock(), load).rate


@contextmanager
def pruning(ledger: str) -> Iterator[None]:
    """What the rescuer does once a second, in this process: a worker's own begins after a minute."""
    stopping = threading.Event()

    def loop() -> None:
        with Ledger(ledger).session() as session:
            while not stopping.wait(READ_SECONDS):
                prune(session, seconds=PRUNE_BUSY_SECONDS)

    thread = threading.Thread(target=loop, name="pruner")
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


MEASUREMENT = Measurement(__doc__, measure, LINES)

if __name__ == "__main__":
    main(MEASUREMENT)
