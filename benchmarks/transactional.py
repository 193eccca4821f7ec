"""How fast jobs run that insert a row of their own, exactly once: Penstock's `ctx.transaction()`, which commits the
row together with the job, and `ctx.write()`, which leaves the row, or one each for two tables, to the transaction that
completes the job, and many others with it, beside what people write by hand on Dramatiq: insert the key, commit, run,
note that it is done, commit. All have 8 threads in one process; by hand and for `ctx.transaction()` each has a Postgres
connection. What such transactions allow is beside it: 8 threads that insert a row, update another by its key and
commit, with psycopg and nothing else. Afterwards there must be as many rows as jobs.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psycopg
from benchmarks.contenders import THREADS, Dramatiq, Penstock
from benchmarks.drain import costs, run_all
from benchmarks.load import Load
from benchmarks.rounds import Line, Measurement, Ratio, Sample, main
from benchmarks.site import fresh_site

if TYPE_CHECKING:
    from benchmarks.contenders import Contender
    from benchmarks.drain import Run
    from benchmarks.servers import Servers

PENSTOCK_JOBS = 6_000
WRITTEN_JOBS = 20_000
DRAMATIQ_JOBS = 3_000

OURS = "transactional"
WRITTEN = "ctx.write"
TWICE = "ctx.write, two tables"
THEIRS = "dramatiq by hand"
LIMIT = "psycopg alone"
LINES: tuple[Line, ...] = (
    Ratio("transactional handler : dedup by hand", OURS, THEIRS, at_least=4),
    Ratio("ctx.write: own insert, commits with the job : dedup by hand", WRITTEN, THEIRS, at_least=4),
    Ratio("ctx.write, for two tables : dedup by hand, one table", TWICE, THEIRS),
    Ratio("limit: psycopg alone, two writes and a commit : dedup by hand", LIMIT, THEIRS),
    *costs(OURS, WRITTEN, TWICE, THEIRS),
)


def measure(servers: Servers, scale: float) -> Sample:
    """One round."""
    return {
        **drain_into_table(servers, Dramatiq(), Load("add_row", round(DRAMATIQ_JOBS * scale))).sample(THEIRS),
        **drain_into_table(servers, Penstock(), Load("add_row", round(PENSTOCK_JOBS * scale))).sample(OURS),
        **drain_into_table(servers, Penstock(), Load("write_row", round(WRITTEN_JOBS * scale))).sample(WRITTEN),
        **drain_into_table(servers, Penstock(), Load("write_rows", round(WRITTEN_JOBS * scale))).sample(TWICE),
        LIMIT: by_psycopg(servers, round(PENSTOCK_JOBS * scale)),
    }


def drain_into_table(servers: Servers, contender: Contender, load: Load) -> Run:
    """Drain a queue; ends the program unless each job has written its row once."""
    with fresh_site(servers) as site:
        contender.fill(site, load)
        run = run_all(site, contender, load)
        with psycopg.connect(site.database) as connection:
            found = connection.execute("SELECT count(*), count(DISTINCT n) FROM numbers").fetchone()
            notes = connection.execute("SELECT count(*), count(DISTINCT n) FROM notes").fetchone()
    wanted = (load.jobs, load.jobs)
    if found != wanted or (load.kind == "write_rows" and notes != wanted):
        sys.exit(f"{contender.name} has written (rows, different ones) {found}, {notes} for {load.jobs} jobs")
    return run


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
