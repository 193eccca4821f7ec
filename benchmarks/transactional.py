"""How fast jobs run that insert a row of their own, exactly once: Penstock's `ctx.transaction()`, which commits the
row together with the job, beside what people write by hand on Dramatiq: insert the key, commit, run, note that it is
done, commit. Both have 8 threads in one process and a Postgres connection for each. What such transactions allow is
beside it: 8 threads that insert a row, update another by its key and commit, with psycopg and nothing else.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psycopg
from benchmarks.contenders import THREADS, Dramatiq, Penstock
from benchmarks.drain import costs, drain
from benchmarks.load import Load
from benchmarks.rounds import Line, Measurement, Ratio, Sample, main
from benchmarks.site import fresh_site

if TYPE_CHECKING:
    from benchmarks.servers import Servers

PENSTOCK_JOBS = 6_000
DRAMATIQ_JOBS = 3_000

OURS = "transactional"
THEIRS = "dramatiq by hand"
LIMIT = "psycopg alone"
LINES: tuple[Line, ...] = (
    Ratio("transactional handler : dedup by hand", OURS, THEIRS, at_least=4),
    Ratio("limit: psycopg alone, two writes and a commit : dedup by hand", LIMIT, THEIRS),
    *costs(OURS, THEIRS),
)


def measure(servers: Servers, scale: float) -> Sample:
    """One round."""
    return {
        **drain(servers, Dramatiq(), Load("add_row", round(DRAMATIQ_JOBS * scale))).sample(THEIRS),
        **drain(servers, Penstock(), Load("add_row", round(PENSTOCK_JOBS * scale))).sample(OURS),
        LIMIT: by_psycopg(servers, round(PENSTOCK_JOBS * scale)),
    }


def by_psycopg(servers: Servers, jobs: int) -> float:
    """Transactions per second, each in three round trips: BEGIN by psycopg, a write, a write with COMMIT."""
    with fresh_site(servers) as site, ThreadPoolExecutor(THREADS) as threads:
        with psycopg.connect(site.database) as connection:
            connection.execute("CREATE TABLE done AS SELECT n, false AS done FROM generate_series(1, %s) AS n", [jobs])
            connection.execute("ALTER TABLE done ADD PRIMARY KEY (n)")

        def work(numbers: range) -> None:
            with psycopg.connect(site.database) as connection:
                for n in numbers:
                    connection.execute("INSERT INTO numbers (n) VALUES (%s)", [n])
                    connection.execute(f"UPDATE done SET done = true WHERE n = {n:d}; COMMIT".encode())

        started = time.perf_counter()
        list(threads.map(work, [range(first, jobs + 1, THREADS) for first in range(1, THREADS + 1)]))
        return jobs / (time.perf_counter() - started)


MEASUREMENT = Measurement(__doc__, measure, LINES)

if __name__ == "__main__":
    main(MEASUREMENT)
