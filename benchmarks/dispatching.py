"""How fast one dispatcher turns due rows into confirmed messages and marks them, beside confirmed publishes one at a
time by Dramatiq.

Nobody consumes, and at most 1,000 rows of a queue are dispatched and unclaimed at any time: so there are many queues.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import psycopg
from benchmarks.drain import costs
from benchmarks.growth.filling import fill_due
from benchmarks.publishing import ONE_BY_ONE, by_dramatiq
from benchmarks.rounds import Line, Measurement, Ratio, Sample, main
from benchmarks.site import fresh_site, running, wait_for

from penstock.workers.dispatcher import WINDOW_JOBS
from penstock.workers.topology import declare

if TYPE_CHECKING:
    from benchmarks.servers import Servers

QUEUES = 20
THEIRS = "dramatiq, confirmed, beside the dispatcher"

LINES: tuple[Line, ...] = (
    Ratio("dispatcher, due rows per second : publishes", "dispatcher", THEIRS, at_least=10),
    *costs("dispatcher"),
)

# As the ledger's index has it: a look does not read all that waits.
DISPATCHED = "state IN ('scheduled', 'available', 'retryable') AND dispatched_at IS NOT NULL"
# The first batch has been published before the first mark: from then on the others count.
MARKS = f"""
    WITH marks AS MATERIALIZED (
        SELECT min(dispatched_at) AS first, max(dispatched_at) AS last FROM jobs WHERE {DISPATCHED}
    )
    SELECT count(*) FILTER (WHERE dispatched_at > first), extract(epoch FROM last - first) FROM marks, jobs
    WHERE {DISPATCHED} GROUP BY first, last HAVING count(*) >= %s
"""
MARKS_SECONDS = 0.1


def measure(servers: Servers, scale: float) -> Sample:
    """One round."""
    taken = QUEUES * min(WINDOW_JOBS, round(WINDOW_JOBS * scale))
    return {
        THEIRS: by_dramatiq(servers.broker(), round(ONE_BY_ONE * scale)),
        **dispatch(servers, waiting=taken, jobs=taken),
    }


def dispatch(servers: Servers, *, waiting: int, jobs: int) -> Sample:
    """Rows per second until so many of those that wait are dispatched, and the CPU that they took."""
    with fresh_site(servers) as site, psycopg.connect(site.database, autocommit=True) as sql:
        queues = {f"benchmark-{number}": {f"benchmark.noop{number}"} for number in range(QUEUES)}
        declare(site.broker, queues, name="benchmark")
        fill_due(site.database, waiting, queues=QUEUES)
        with running(site, ["-m", "penstock.console", "dispatch"]) as process:
            started = f"SELECT FROM jobs WHERE {DISPATCHED} LIMIT 1"
            wait_for(site, lambda: sql.execute(started.encode()).fetchone(), process)
            before = site.cpu(process)
            marks = functools.partial(sql.execute, MARKS.encode(), [jobs])
            count, seconds = wait_for(site, lambda: marks().fetchone(), process, every_seconds=MARKS_SECONDS)
            spent = site.cpu(process).since(before)
    return {"dispatcher": count / float(seconds), **spent.sample("dispatcher", count)}


MEASUREMENT = Measurement(__doc__, measure, LINES)

if __name__ == "__main__":
    main(MEASUREMENT)
