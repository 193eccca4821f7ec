"""PgQueuer on Postgres alone, with asyncpg, its tables as durable as it makes them by default. Finished jobs leave a
row in its log, without the payload. Started as `pgqueuer run` starts it, whose command line fails under this Typer."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import uvloop
from benchmarks.clock import Clock
from benchmarks.load import Load
from pgqueuer import PgQueuer, run
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

CHUNK = 1000
BATCH_JOBS = 100

clock = Clock()


@asynccontextmanager
async def worker() -> AsyncIterator[PgQueuer]:
    async with asyncpg.create_pool(os.environ["BENCHMARK_DATABASE"], min_size=2) as pool:
        pgq = PgQueuer(AsyncpgPoolDriver(pool))

        @pgq.entrypoint("noop")
        async def noop(job: Job) -> None:
            json.loads(job.payload or b"")
            clock.tick()

        yield pgq


def fill(load: Load) -> None:
    asyncio.run(_fill(load))


async def _fill(load: Load) -> None:
    connection = await asyncpg.connect(os.environ["BENCHMARK_DATABASE"])
    queries = Queries(AsyncpgDriver(connection))
    await queries.install()
    for start in range(0, load.jobs, CHUNK):
        numbers = range(start, min(start + CHUNK, load.jobs))
        bodies = [json.dumps({"n": n, "padding": load.padding}).encode() for n in numbers]
        await queries.enqueue(["noop"] * len(bodies), bodies, [0] * len(bodies))
    await connection.close()


if __name__ == "__main__":
    uvloop.run(run("benchmarks.peers.pgqueuer_jobs:worker", batch_size=BATCH_JOBS))
