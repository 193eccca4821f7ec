"""How fast jobs run embedded: no servers, an SQLite ledger, one worker process with 8 threads; with a full row for each
job, from the first handler to the last job completed, and how fast they are accepted.
"""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

from benchmarks.contenders import Penstock
from benchmarks.drain import run_all
from benchmarks.load import Load
from benchmarks.penstock_jobs import Noop
from benchmarks.rounds import Figure, Line, Measurement, Sample, main
from benchmarks.site import fresh_site

from penstock.ledger.migrations import migrate
from penstock.producers.ledger_producer import LedgerProducer

if TYPE_CHECKING:
    from benchmarks.servers import Servers
    from benchmarks.site import Site

JOBS = 10_000
COMPLETED = "SELECT COUNT(*), 86400 * (julianday(MAX(finished_at)) - 2440587.5) FROM jobs WHERE state = 'completed'"

LINES: tuple[Line, ...] = (
    Figure("embedded (SQLite): jobs per second", "run", at_least=2_000),
    Figure("embedded (SQLite): accepted per second, publish_many", "accepted"),
)


class Embedded(Penstock):
    """Without RabbitMQ and Postgres."""

    name = "penstock, embedded"

    def fill(self, site: Site, load: Load) -> None:
        LedgerProducer(site.ledger).publish_many(Noop(n=n, padding=load.padding) for n in range(load.jobs))

    def finished(self, site: Site, load: Load) -> float | None:
        with sqlite3.connect(site.ledger.removeprefix("sqlite:///")) as connection:
            jobs, at = connection.execute(COMPLETED).fetchone()
        return float(at) if jobs == load.jobs else None


def measure(servers: Servers, scale: float) -> Sample:
    """One round."""
    load = Load("noop", round(JOBS * scale))
    with fresh_site(servers) as site:
        embedded = site._replace(broker="local", ledger=f"sqlite:///{site.folder / 'ledger.db'}")
        migrate(embedded.ledger)
        started = time.perf_counter()
        Embedded().fill(embedded, load)
        accepted = load.jobs / (time.perf_counter() - started)
        return {"accepted": accepted, "run": run_all(embedded, Embedded(), load).rate}


MEASUREMENT = Measurement(__doc__, measure, LINES)

if __name__ == "__main__":
    main(MEASUREMENT)
