"""How fast jobs run that insert a row of their own, exactly once: Penstock's `ctx.transaction()`, which commits the
row together with the job, beside what people write by hand on Dramatiq: insert the key, commit, run, note that it is
done, commit. Both have 8 threads in one process and a Postgres connection for each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.contenders import Dramatiq, Penstock
from benchmarks.drain import costs, drain
from benchmarks.load import Load
from benchmarks.rounds import Line, Measurement, Ratio, Sample, main

if TYPE_CHECKING:
    from benchmarks.servers import Servers

PENSTOCK_JOBS = 6_000
DRAMATIQ_JOBS = 3_000

OURS = "transactional"
THEIRS = "dramatiq by hand"
LINES: tuple[Line, ...] = (
    Ratio("transactional handler : dedup by hand", OURS, THEIRS, at_least=4),
    *costs(OURS, THEIRS),
)


def measure(servers: Servers, scale: float) -> Sample:
    """One round."""
    return {
        **drain(servers, Dramatiq(), Load("add_row", round(DRAMATIQ_JOBS * scale))).sample(THEIRS),
        **drain(servers, Penstock(), Load("add_row", round(PENSTOCK_JOBS * scale))).sample(OURS),
    }


MEASUREMENT = Measurement(__doc__, measure, LINES)

if __name__ == "__main__":
    main(MEASUREMENT)
