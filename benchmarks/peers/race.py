"""How fast a queue is drained by everybody: no-op jobs of 200 bytes, one worker process, in turns on the same servers.

Each run lasts some seconds, whatever its platform's speed. Penstock's clock stops when the last job is completed in
the ledger, everybody else's when the last handler runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from benchmarks.contenders import Dramatiq, Penstock
from benchmarks.drain import drain
from benchmarks.load import Load
from benchmarks.peers.field import PEERS
from benchmarks.rounds import Line, Measurement, Ratio, Sample, main

if TYPE_CHECKING:
    from benchmarks.contenders import Contender
    from benchmarks.servers import Servers


class Entrant(NamedTuple):
    """One line of the table."""

    name: str
    contender: Contender
    load: Load
    processes: int = 1
    beside: str = "Dramatiq"
    wanted: float | None = None


ENTRANTS = (
    Entrant("Dramatiq", Dramatiq(), Load("noop", 15_000)),
    Entrant("Penstock", Penstock(), Load("noop", 60_000), wanted=5),
    Entrant("Penstock, dedup keys", Penstock(), Load("noop", 60_000, keyed=True)),
    Entrant("Dramatiq, dedup by hand", Dramatiq(), Load("once", 6_000)),
    *(Entrant(peer.name, peer, Load("noop", peer.jobs_per_run)) for peer in PEERS),
    Entrant("Dramatiq, two processes", Dramatiq(), Load("noop", 20_000), 2, "Dramatiq, two processes"),
    Entrant("Penstock, two processes", Penstock(), Load("noop", 60_000), 2, "Dramatiq, two processes", wanted=4),
)

LINES: tuple[Line, ...] = tuple(Ratio(f"drain: {it.name}", it.name, it.beside, at_least=it.wanted) for it in ENTRANTS)


def measure(servers: Servers, scale: float) -> Sample:
    """One round."""
    found: Sample = {}
    for it in ENTRANTS:
        load = it.load._replace(jobs=round(it.load.jobs * scale))
        found |= drain(servers, it.contender, load, processes=it.processes).sample(it.name)
    return found


MEASUREMENT = Measurement(__doc__, measure, LINES)

if __name__ == "__main__":
    main(MEASUREMENT)
