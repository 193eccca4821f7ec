"""The same job for plain Dramatiq on RabbitMQ, with its defaults."""

import os

import dramatiq
from benchmarks.clock import Clock
from dramatiq.brokers.rabbitmq import RabbitmqBroker

dramatiq.set_broker(RabbitmqBroker(url=os.environ["BENCHMARK_BROKER"]))
clock = Clock()


@dramatiq.actor(queue_name="benchmark")
def noop(n: int, padding: str) -> None:
    clock.tick()
