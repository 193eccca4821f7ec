"""FastStream on a quorum queue, with its default of an ack when the handler has returned, and a prefetch."""

import asyncio
import os

from benchmarks.clock import Clock
from benchmarks.load import Load
from faststream import FastStream
from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue
from pydantic import BaseModel

PREFETCH = 200

clock = Clock()
broker = RabbitBroker(os.environ["BENCHMARK_BROKER"], default_channel=Channel(prefetch_count=PREFETCH), logger=None)
app = FastStream(broker)
queue = RabbitQueue("benchmark", durable=True, queue_type=QueueType.QUORUM)


class Noop(BaseModel):
    n: int
    padding: str


@broker.subscriber(queue)
async def noop(job: Noop) -> None:
    clock.tick()


def fill(load: Load) -> None:
    asyncio.run(_fill(load))


async def _fill(load: Load) -> None:
    async with broker:
        await broker.declare_queue(queue)
        for start in range(0, load.jobs, PREFETCH):
            jobs = [Noop(n=n, padding=load.padding) for n in range(start, min(start + PREFETCH, load.jobs))]
            await asyncio.gather(*(broker.publish(job, queue, persist=True) for job in jobs))
