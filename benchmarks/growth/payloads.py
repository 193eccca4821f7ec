"""How fast jobs with payloads of 200 bytes, 10 kB and 200 kB are drained, beside plain Dramatiq with the same, and what
memory a worker process takes at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.contenders import Dramatiq, Penstock
from benchmarks.drain import drain
from benchmarks.load import Load
from benchmarks.rounds import Line, Measurement, Ratio, Sample, main

if TYPE_CHECKING:
    from benchmarks.servers import Servers

JOBS = {200: 20_000, 10_000: 8_000, 200_000: 800}

LINES: tuple[Line, ...] = tuple(
    line
    for size in JOBS
    for line in (
        Ratio(f"drain: payloads of {size:,} bytes, Penstock : Dramatiq", f"penstock, {size}", f"dramatiq, {size}"),
        Ratio(f"peak MB: payloads of {size:,} bytes", f"penstock, {size}: peak MB", f"dramatiq, {size}: peak MB"),
    )
)


def measure(servers: Servers, scale: float) -> Sample:
    """One round."""
    found: Sample = {}
    for size, jobs in JOBS.items():
        load = Load("noop", round(jobs * scale), body_bytes=size)
        for contender in (Dramatiq(), Penstock()):
            found |= drain(servers, contender, load).sample(f"{contender.name}, {size}")
    return found


MEASUREMENT = Measurement(__doc__, measure, LINES)

if __name__ == "__main__":
    main(MEASUREMENT)
