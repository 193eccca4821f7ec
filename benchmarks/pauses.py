"""Jobs that wait 5 ms, as for another service, with 8 threads: how much of the 1,600 a second that the threads allow
is reached, and what CPU a job costs over worker, broker and database together. What the machine allows is beside it: 8
threads that wait 5 ms again and again, and nothing else.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from benchmarks.contenders import THREADS, Dramatiq, Penstock
from benchmarks.drain import costs, drain
from benchmarks.load import PAUSE_SECONDS, Load
from benchmarks.rounds import Figure, Line, Measurement, Ratio, Sample, main

if TYPE_CHECKING:
    from benchmarks.drain import Run
    from benchmarks.servers import Servers

JOBS = 4_000
BEST_PER_SECOND = THREADS / PAUSE_SECONDS

OURS = "penstock, 5 ms"
THEIRS = "dramatiq, 5 ms"
LINES: tuple[Line, ...] = (
    Ratio("handler of 5 ms, jobs per second", OURS, THEIRS),
    Figure("handler of 5 ms, % of what 8 threads allow", "%", at_least=95),
    Figure("limit: threads that wait and nothing else, % of the same", "waiting"),
    Figure("handler of 5 ms, µs of CPU per job, all together", "µs", at_most=400),
    Figure("handler of 5 ms, µs of CPU per job, all together: dramatiq", "µs: dramatiq"),
    *costs(OURS, THEIRS),
)


def measure(servers: Servers, scale: float) -> Sample:
    """One round."""
    load = Load("pause", round(JOBS * scale))
    theirs, ours = drain(servers, Dramatiq(), load), drain(servers, Penstock(), load)
    return {
        **theirs.sample(THEIRS),
        **ours.sample(OURS),
        "%": 100 * ours.rate / BEST_PER_SECOND,
        "waiting": 100 * waits_per_second(load.jobs) / BEST_PER_SECOND,
        "µs": microseconds(ours),
        "µs: dramatiq": microseconds(theirs),
    }


def waits_per_second(waits: int) -> float:
    """Of 8 threads that do nothing else."""

    def wait(times: int) -> None:
        for _ in range(times):
            time.sleep(PAUSE_SECONDS)

    started = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(wait, [waits // THREADS] * THREADS))
    return waits / (time.perf_counter() - started)


def microseconds(run: Run) -> float:
    """Of CPU, for one job, in all processes."""
    return 1e6 * sum(run.cpu) / run.jobs


MEASUREMENT = Measurement(__doc__, measure, LINES)

if __name__ == "__main__":
    main(MEASUREMENT)
