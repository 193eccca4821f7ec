"""How fast one dispatcher turns due rows into confirmed messages and marks them, beside confirmed publishes one at a
time by Dramatiq.

Nobody consumes, and at most 1,000 rows of a queue are dispatched and unclaimed at any time: so there are many queues.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
from benchmarks.drain import costs
from benchmarks.load import Load
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

FILL = """
    INSERT INTO jobs (id, type, version, queue, state, payload, due_at, created_at)
    SELECT CAST(lpad(to_hex(n), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0') AS uuid),
        'benchmark.type' || n %% %(queues)s, 1, 'benchmark-' || n %% %(queues)s, 'available',
        convert_to(json_build_object('n', n, 'padding', CAST(%(padding)s AS text))::text, 'UTF8'),
        now() - interval '1 minute', now()
    FROM generate_series(1, %(jobs)s) AS n
"""
# The first batch has been published before the first mark: from then on the others count.
MARKS = """
    SELECT count(*) FILTER (WHERE dispatched_at > first), extract(epoch FROM last - first) FROM jobs,
        (SELECT min(dispatched_at) AS first, max(dispatched_at) AS last FROM jobs) AS marks
    GROUP BY first, last HAVING count(dispatched_at) = count(*)
"""


def measure(servers: Servers, scale: float) -> Sample:
    """One round."""
    return {
        THEIRS: by_dramatiq(servers.broker(), round(ONE_BY_ONE * scale)),
        **dispatch(servers, jobs=QUEUES * min(WINDOW_JOBS, round(WINDOW_JOBS * scale))),
    }


def dispatch(servers: Servers, *, jobs: int) -> Sample:
    """Rows per second, and the CPU that they took."""
    with fresh_site(servers) as site, psycopg.connect(site.database, autocommit=True) as sql:
        queues = {f"benchmark-{number}": {f"benchmark.type{number}"} for number in range(QUEUES)}
        declare(site.broker, queues, name="benchmark")
        sql.execute(FILL, {"queues": QUEUES, "jobs": jobs, "padding": Load("noop", jobs).padding})
        sql.execute("VACUUM ANALYZE jobs")
        with running(site, ["-m", "penstock.console", "dispatch"]) as process:
            started = "SELECT FROM jobs WHERE dispatched_at IS NOT NULL LIMIT 1"
            wait_for(site, lambda: sql.execute(started).fetchone(), process)
            before = site.cpu(process)
            count, seconds = wait_for(site, lambda: sql.execute(MARKS).fetchone(), process)
            spent = site.cpu(process).since(before)
    return {"dispatcher": count / float(seconds), **spent.sample("dispatcher", count)}


MEASUREMENT = Measurement(__doc__, measure, LINES)

if __name__ == "__main__":
    main(MEASUREMENT)
