"""How fast the first of a million messages are taken from a queue and run, beside those of a queue that has no more.
`--scale 0.1` makes it a hundred thousand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.contenders import Penstock
from benchmarks.drain import rate_of_first
from benchmarks.load import Load
from benchmarks.rounds import Line, Measurement, Ratio, Sample, main
from benchmarks.site import fresh_site

if TYPE_CHECKING:
    from benchmarks.servers import Servers

WAITING = 1_000_000
JOBS = 40_000

LINES: tuple[Line, ...] = (Ratio("drain: many messages wait : few", "many", "few", at_least=0.8),)


def measure(servers: Servers, scale: float) -> Sample:
    """One round."""
    return {"few": first_of(servers, JOBS), "many": first_of(servers, round(WAITING * scale))}


def first_of(servers: Servers, waiting: int) -> float:
    """Jobs per second over the first that are run."""
    with fresh_site(servers) as site:
        Penstock().fill(site, Load("noop", waiting))
        return rate_of_first(site, Penstock(), JOBS)


MEASUREMENT = Measurement(__doc__, measure, LINES)

if __name__ == "__main__":
    main(MEASUREMENT)
