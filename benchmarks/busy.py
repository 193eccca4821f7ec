"""How long it takes from a publish to the start of its handler where jobs of 5 ms come at 70 % of the 1,600 a second
that 8 threads allow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.contenders import THREADS
from benchmarks.latency import SECONDS, start_latencies
from benchmarks.load import PAUSE_SECONDS
from benchmarks.rounds import Figure, Line, Measurement, Ratio, Sample, main

if TYPE_CHECKING:
    from benchmarks.servers import Servers

PER_SECOND = 0.7 * THREADS / PAUSE_SECONDS

LINES: tuple[Line, ...] = (
    Ratio("start latency under 70 % load, p50 in ms", "penstock p50", "dramatiq p50"),
    Ratio("start latency under 70 % load, p99 in ms", "penstock p99", "dramatiq p99"),
    Figure("start latency under 70 % load, p99 in ms: Penstock", "penstock p99", at_most=50),
)


def measure(servers: Servers, scale: float) -> Sample:
    """One round."""
    return start_latencies(servers, "timed_pause", per_second=PER_SECOND, seconds=SECONDS * scale)


MEASUREMENT = Measurement(__doc__, measure, LINES)

if __name__ == "__main__":
    main(MEASUREMENT)
