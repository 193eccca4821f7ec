"""Procrastinate on Postgres alone. Finished jobs stay in its table, which is its default."""

import os

from benchmarks.clock import Clock
from benchmarks.load import Load
from procrastinate import App, PsycopgConnector, SyncPsycopgConnector

CHUNK = 1000

clock = Clock()
conninfo = os.environ["BENCHMARK_DATABASE"]
app = App(connector=PsycopgConnector(conninfo=conninfo))


@app.task(name="noop", queue="benchmark")
async def noop(n: int, padding: str) -> None:
    clock.tick()


def fill(load: Load) -> None:
    with app.replace_connector(SyncPsycopgConnector(conninfo=conninfo)) as filler, filler.open():
        filler.schema_manager.apply_schema()
        for start in range(0, load.jobs, CHUNK):
            numbers = range(start, min(start + CHUNK, load.jobs))
            noop.batch_defer(*({"n": n, "padding": load.padding} for n in numbers))
