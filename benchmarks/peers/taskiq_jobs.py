"""Taskiq with aio-pika on the quorum queue that it declares by default; acks when a task has been executed."""

import asyncio
import os

from benchmarks.clock import Clock
from benchmarks.load import Load
from taskiq_aio_pika import AioPikaBroker

PREFETCH = 200

clock = Clock()
broker = AioPikaBroker(os.environ["BENCHMARK_BROKER"], qos=PREFETCH)


@broker.task(task_name="noop")
async def noop(n: int, padding: str) -> None:
    clock.tick()


def fill(load: Load) -> None:
    asyncio.run(_fill(load))


async def _fill(load: Load) -> None:
    await broker.startup()
    for start in range(0, load.jobs, PREFETCH):
        numbers = range(start, min(start + PREFETCH, load.jobs))
        await asyncio.gather(*(noop.kiq(n=n, padding=load.padding) for n in numbers))
    await broker.shutdown()
