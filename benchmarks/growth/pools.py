"""How fast one to four worker processes drain a queue, beside one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.contenders import Penstock
from benchmarks.drain import drain
from benchmarks.load import Load
from benchmarks.rounds import Line, Measurement, Ratio, Sample, main

if TYPE_CHECKING:
    from benchmarks.servers import Servers

JOBS = 60_000
SIZES = (1, 2, 3, 4)

LINES: tuple[Line, ...] = tuple(Ratio(f"drain: {size} processes : 1", f"{size}", "1") for size in SIZES[1:])


def measure(servers: Servers, scale: float) -> Sample:
    """One round."""
    load = Load("noop", round(JOBS * scale))
    return {f"{size}": drain(servers, Penstock(), load, processes=size).rate for size in SIZES}


MEASUREMENT = Measurement(__doc__, measure, LINES)

if __name__ == "__main__":
    main(MEASUREMENT)
