"""What memory a worker with one, two and four processes takes as a whole, whatever is beside them included (Penstock's
supervisor and dispatcher, Dramatiq's main process), when it has drained a queue. Of a page that several processes
share, each counts its part (PSS): the sum is what the machine is short of.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.contenders import Dramatiq, Penstock
from benchmarks.drain import DRAMATIQ_JOBS, OURS, PENSTOCK_JOBS, THEIRS
from benchmarks.load import Load
from benchmarks.processes import tree_megabytes
from benchmarks.rounds import Line, Measurement, Ratio, Sample, main
from benchmarks.site import fresh_site, running, wait_for

if TYPE_CHECKING:
    from benchmarks.contenders import Contender
    from benchmarks.servers import Servers

SIZES = (1, 2, 4)
FEWEST, MOST = SIZES[0], SIZES[-1]
# Penstock looks for suspects of an earlier run in a process of its own, which ends within this time.
REST_SECONDS = 5.0
LOOK_SECONDS = 0.5

LINES: tuple[Line, ...] = (
    *(
        Ratio(f"memory of all processes, {size} of which run jobs, MB", f"{OURS}: {size}", f"{THEIRS}: {size}")
        for size in SIZES
    ),
    Ratio("what one more process takes, MB", f"{OURS}: one more", f"{THEIRS}: one more"),
)


def measure(servers: Servers, scale: float) -> Sample:
    """One round."""
    return {
        **grow(servers, Dramatiq(), Load("noop", round(DRAMATIQ_JOBS * scale))),
        **grow(servers, Penstock(), Load("noop", round(PENSTOCK_JOBS * scale))),
    }


def grow(servers: Servers, contender: Contender, load: Load) -> Sample:
    """Megabytes at each size, and what a process more has taken between the least and the most."""
    taken = {size: megabytes(servers, contender, load, processes=size) for size in SIZES}
    one_more = (taken[MOST] - taken[FEWEST]) / (MOST - FEWEST)
    return {f"{contender.name}: {size}": it for size, it in taken.items()} | {f"{contender.name}: one more": one_more}


def megabytes(servers: Servers, contender: Contender, load: Load, *, processes: int) -> float:
    """Of all processes, at rest after the load."""
    with fresh_site(servers) as site:
        contender.fill(site, load)
        with running(site, contender.command(processes=processes)) as worker:
            wait_for(site, lambda: it if (it := site.progress()) and it.jobs >= load.jobs else None, worker)
            wait_for(site, lambda: contender.finished(site, load), worker)
            found = [tree_megabytes(worker.pid)]
            rested = time.monotonic() + REST_SECONDS
            while time.monotonic() < rested:
                time.sleep(LOOK_SECONDS)
                found.append(tree_megabytes(worker.pid))
    return min(found)


MEASUREMENT = Measurement(__doc__, measure, LINES)

if __name__ == "__main__":
    main(MEASUREMENT)
