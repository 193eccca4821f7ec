"""A million due rows that wait in the ledger, beside as many as are taken: how fast a worker without a broker claims
and runs them, and how fast a dispatcher publishes them. `--scale 10` makes it ten million.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.contenders import Penstock
from benchmarks.dispatching import QUEUES, dispatch
from benchmarks.drain import rate_of_first
from benchmarks.growth.filling import fill_due
from benchmarks.rounds import Line, Measurement, Ratio, Sample, main
from benchmarks.site import fresh_site

from penstock.workers.dispatcher import WINDOW_JOBS

if TYPE_CHECKING:
    from benchmarks.servers import Servers

WAITING = 1_000_000
JOBS = 20_000

LINES: tuple[Line, ...] = (
    Ratio("claimed from the ledger and run: many due rows : few", "claims of many", "claims of few", at_least=0.8),
    Ratio("dispatched: many due rows : few", "dispatches of many", "dispatches of few", at_least=0.8),
)


def measure(servers: Servers, scale: float) -> Sample:
    """One round."""
    many = round(WAITING * scale)
    taken = QUEUES * WINDOW_JOBS
    return {
        "claims of few": claim(servers, waiting=JOBS),
        "claims of many": claim(servers, waiting=many),
        "dispatches of few": dispatch(servers, waiting=taken, jobs=taken)["dispatcher"],
        "dispatches of many": dispatch(servers, waiting=many, jobs=taken)["dispatcher"],
    }


def claim(servers: Servers, *, waiting: int) -> float:
    """Jobs per second of a worker that takes the first of those that wait in one queue."""
    with fresh_site(servers) as site:
        fill_due(site.database, waiting)
        return rate_of_first(site._replace(broker="local"), Penstock(), JOBS)


MEASUREMENT = Measurement(__doc__, measure, LINES)

if __name__ == "__main__":
    main(MEASUREMENT)
