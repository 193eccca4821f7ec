"""A ledger that has grown, filled by SQL and not through the engine: a million rows in some ten seconds."""

from __future__ import annotations

import psycopg

STEP = 500_000
ID = """
    CAST(lpad(to_hex(CAST(floor(extract(epoch FROM at) * 1000) AS bigint)), 12, '0')
        || '7' || lpad(to_hex(n %% 4096), 3, '0') || '8' || substr(md5(n::text), 1, 15) AS uuid)
"""
PAYLOAD = """convert_to('{"n":' || n || ',"padding":"' || repeat('x', 170) || '"}', 'UTF8')"""

# Over the days that the ledger remembers; every third has a dedup key.
FINISHED = f"""
    INSERT INTO jobs (id, type, version, queue, state, payload, token, process_id, attempts, dispatch_number,
        due_at, created_at, started_at, finished_at, dedup_key)
    SELECT {ID}, 'benchmark.noop', 1, 'benchmark', 'completed', {PAYLOAD}, n, gen_random_uuid(), 1, 1,
        at, at, at, at, CASE WHEN n %% 3 = 0 THEN 'old-' || n END
    FROM (
        SELECT n, now() - interval '29 days' - %(days)s * interval '1 day' + n * (interval '28 days' / %(jobs)s) AS at
        FROM generate_series(%(first)s::int, %(last)s::int) AS n
    ) AS numbers
"""
KEYS = """
    INSERT INTO dedup_keys (type, key, job_id, payload_hash, expires_at)
    SELECT 'benchmark.noop', 'old-' || n, CAST(md5(n::text) AS uuid), md5(n::text) || md5(n::text),
        now() + interval '5 days' - %(days)s * interval '1 day'
    FROM generate_series(%(first)s::int, %(last)s::int) AS n WHERE n %% 3 = 0
"""
DUE = f"""
    INSERT INTO jobs (id, type, version, queue, state, payload, due_at, created_at)
    SELECT {ID}, 'benchmark.noop' || COALESCE(queue::text, ''), 1, 'benchmark' || COALESCE('-' || queue, ''),
        'available', {PAYLOAD}, at, at
    FROM (
        SELECT n, n %% NULLIF(%(queues)s, 0) AS queue,
            now() - interval '1 hour' + n * (interval '59 minutes' / %(jobs)s) AS at
        FROM generate_series(%(first)s::int, %(last)s::int) AS n
    ) AS numbers
"""


def fill_finished(url: str, jobs: int, *, days_ago: int = 0) -> None:
    """Add so many completed jobs, and their keys: those of the 28 days that ended so long ago."""
    _fill(url, (FINISHED, KEYS), jobs, {"days": days_ago})


def fill_due(url: str, jobs: int, *, queues: int = 0) -> None:
    """Add so many jobs that are due: of the worker's type and queue, or spread over `benchmark-0` and so on."""
    _fill(url, (DUE,), jobs, {"queues": queues})


def _fill(url: str, statements: tuple[str, ...], jobs: int, values: dict[str, int]) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        for first in range(0, jobs, STEP):
            bounds = {"jobs": jobs, "first": first, "last": min(first + STEP, jobs) - 1}
            for statement in statements:
                connection.execute(statement.encode(), bounds | values)
        connection.execute("VACUUM ANALYZE")
        # Or the large ledger would be written to disk while it is measured, and the small one not at all.
        connection.execute("CHECKPOINT")
