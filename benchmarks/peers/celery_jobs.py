"""Celery on RabbitMQ, set as its guide to optimizing says for many short tasks: a large prefetch, no results, no
events. `app` uses a classic queue, `quorum_app` a quorum queue with late acks and confirmed publishes."""

import os

from benchmarks.clock import Clock
from benchmarks.load import Load
from celery import Celery

clock = Clock()


def noop(n: int, padding: str) -> None:
    clock.tick()


def _made(*, quorum: bool) -> Celery:
    made = Celery("benchmark", broker=os.environ["BENCHMARK_BROKER"], set_as_current=False)
    made.conf.update(
        task_ignore_result=True,
        task_default_queue="benchmark",
        task_default_queue_type="quorum" if quorum else "classic",
        task_acks_late=quorum,
        broker_transport_options={"confirm_publish": quorum},
        worker_prefetch_multiplier=128,
        worker_disable_rate_limits=True,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
    )
    made.task(name="noop")(noop)
    return made


app, quorum_app = _made(quorum=False), _made(quorum=True)


def fill(load: Load) -> None:
    _fill(app, load)


def fill_quorum(load: Load) -> None:
    _fill(quorum_app, load)


def _fill(filled: Celery, load: Load) -> None:
    with filled.producer_pool.acquire(block=True) as producer:
        for n in range(load.jobs):
            filled.send_task("noop", kwargs={"n": n, "padding": load.padding}, producer=producer)
