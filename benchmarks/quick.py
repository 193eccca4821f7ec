"""Penstock against plain Dramatiq in under 90 seconds, one line for each ratio; `make bench-quick` runs it.

Each measurement also runs alone, with more rounds: `python -m benchmarks.drain --rounds 5`.
"""

from __future__ import annotations

import time

from benchmarks import dispatching, drain, latency, pauses, publishing, transactional
from benchmarks.rounds import Measurement, run
from benchmarks.servers import servers

# Few enough for a slow machine to be in time; `make bench` makes three of each.
ROUNDS: dict[Measurement, int] = {
    drain.MEASUREMENT: 1,
    publishing.MEASUREMENT: 1,
    transactional.MEASUREMENT: 1,
    dispatching.MEASUREMENT: 1,
    pauses.MEASUREMENT: 1,
    latency.MEASUREMENT: 1,
}


def main() -> None:
    started = time.monotonic()
    with servers() as where:
        run(where, ROUNDS)
    print(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
