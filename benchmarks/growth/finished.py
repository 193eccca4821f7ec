"""How fast a queue is drained on a ledger that remembers a million finished jobs and their keys, beside an empty one.
`--scale 10` makes it ten million.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.contenders import Penstock
from benchmarks.drain import run_all
from benchmarks.growth.filling import fill_finished
from benchmarks.load import Load
from benchmarks.rounds import Line, Measurement, Ratio, Sample, main
from benchmarks.site import fresh_site, site_on

if TYPE_CHECKING:
    from benchmarks.servers import Servers

FINISHED = 1_000_000
JOBS = 40_000

LINES: tuple[Line, ...] = (
    Ratio("drain: many finished jobs : none", "many", "none", at_least=0.8),
    Ratio("drain, with dedup keys: many finished jobs : none", "many, keyed", "none, keyed", at_least=0.8),
)


def measure(servers: Servers, scale: float) -> Sample:
    """One round."""
    with fresh_site(servers) as small, fresh_site(servers) as large:
        fill_finished(large.database, round(FINISHED * scale))
        return {
            f"{name}{', keyed' if keyed else ''}": drain_on(servers, ledger, keyed=keyed)
            for keyed in (False, True)
            for name, ledger in (("none", small.ledger), ("many", large.ledger))
        }


def drain_on(servers: Servers, ledger: str, *, keyed: bool) -> float:
    """Jobs per second."""
    load = Load("noop", JOBS, keyed=keyed)
    with site_on(servers, ledger) as site:
        Penstock().fill(site, load)
        return run_all(site, Penstock(), load).rate


MEASUREMENT = Measurement(__doc__, measure, LINES)

if __name__ == "__main__":
    main(MEASUREMENT)
