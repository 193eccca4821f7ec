"""Health is consumption: whatever keeps jobs from being run, `/healthz` and `/readyz` say so, and take it back."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import text
from tests.servers.postgres import PrivatePostgres
from tests.servers.proxy import Proxy
from tests.servers.rabbitmq import PrivateRabbitMQ
from tests.waiting import until
from tests.workers import jobs
from tests.workers.pool import RunningPool
from tests.workers.site import Site

from penstock.ledger.migrations import migrate
from penstock.workers.process import WorkerProcess

FAST = {
    "deliveries.ASK_SECONDS": 0.5,
    "deliveries.SILENT_SECONDS_MAX": 2.0,
    "deliveries.RECONNECT_SECONDS_MAX": 1.0,
    "dispatcher.LOST_CHECK_SECONDS": 0.5,
    "dispatcher.PUBLISH_SECONDS": 1.0,
    "rescuer.HEALTHY_SECONDS": 3.0,
    "replier.HEALTHY_SECONDS": 3.0,
    "scheduler.HEALTHY_SECONDS": 3.0,
}
READY = (200, "1 of 1 worker processes consume\n")
DEAF = "0 of 1 worker processes consume"
STILL = "the dispatcher does not pass"


def await_ready(pool: RunningPool) -> None:
    """Wait until the pool says that all is well."""
    until(lambda: pool.get("/readyz") == READY, timeout_seconds=30, what="readiness")


def await_word(pool: RunningPool, path: str, *words: str) -> None:
    """Wait until a page says no, for these reasons."""

    def said() -> bool:
        status, text = pool.get(path)
        return status == 503 and all(word in text for word in words)

    until(said, timeout_seconds=60, what=f"{path} to say {words}")


@pytest.fixture
def small_site_on_private_postgres(private_postgres: PrivatePostgres, tmp_path: Path) -> Iterator[Site]:
    """A Postgres that may be stopped, and no RabbitMQ."""
    url = private_postgres.create_database()
    migrate(url)
    site = Site(url, "local", tmp_path)
    yield site
    site.close()


def test_a_connection_to_rabbitmq_that_has_fallen_silent_is_not_consumption(own_site: Site) -> None:
    """Nobody closes it and nothing arrives; it is given up long before missed heartbeats would tell."""
    with Proxy(own_site.broker_url) as proxy, own_site.pool(broker_url=proxy.url, constants=FAST) as pool:
        await_ready(pool)
        proxy.silence()
        lost = pool.await_log("connection to RabbitMQ lost")
        assert "RabbitMQ has not answered for 2 s" in lost["error"]
        until(lambda: len(pool.logged("consuming")) > 1, what="a new connection")
        await_ready(pool)


@pytest.mark.faults
def test_without_rabbitmq_nothing_consumes_and_nothing_is_dispatched(
    migrated_database_url: str, private_rabbitmq: PrivateRabbitMQ, tmp_path: Path
) -> None:
    """Also while no job waits that would show it; both come back by themselves."""
    site = Site(migrated_database_url, private_rabbitmq.url, tmp_path)
    with site.pool(constants=FAST) as pool:
        await_ready(pool)
        private_rabbitmq.stop()  # killed so soon after their declaration, RabbitMQ 3.10 forgets quorum queues
        await_word(pool, "/healthz", DEAF)
        await_word(pool, "/readyz", DEAF, STILL)
        private_rabbitmq.start()
        await_ready(pool)
    site.close()


@pytest.mark.faults
def test_without_postgres_nothing_consumes_and_nothing_is_rescued(
    small_site_on_private_postgres: Site, private_postgres: PrivatePostgres
) -> None:
    """Where there is no dispatcher, the rescuer says it; both come back by themselves."""
    with small_site_on_private_postgres.pool(constants=FAST) as pool:
        await_ready(pool)
        private_postgres.stop_immediately()
        await_word(pool, "/healthz", DEAF)
        await_word(pool, "/readyz", DEAF, STILL)
        private_postgres.start()
        await_ready(pool)


@pytest.mark.faults
def test_a_worker_that_rabbitmq_gives_nothing_proves_all_the_same_that_postgres_answers(
    private_postgres: PrivatePostgres, broker_url: str, tmp_path: Path
) -> None:
    """It claims nothing, so that only its pulse can tell; and long before its heartbeat has lapsed."""
    url = private_postgres.create_database()
    migrate(url)
    site = Site(url, broker_url, tmp_path)
    with site.pool(constants=FAST | {"pulse.FRESH_SECONDS": 600.0}) as pool:
        await_ready(pool)
        private_postgres.stop_immediately()
        await_word(pool, "/healthz", DEAF)
        private_postgres.start()
        await_ready(pool)
    site.close()


@pytest.mark.parametrize(("table", "loop"), [("replies", "replier"), ("schedules", "scheduler")])
def test_one_loop_that_fails_is_no_health_though_the_others_pass(own_site: Site, table: str, loop: str) -> None:
    """Dispatcher and rescuer are well; the log says who is not."""
    with own_site.pool(constants=FAST) as pool:
        await_ready(pool)
        own_site.session.connection.execute(text(f"ALTER TABLE {table} RENAME TO mislaid"))
        await_word(pool, "/readyz", STILL)
        pool.await_log("loops do not pass", loops=[loop])
        assert pool.get("/healthz")[0] == 200
        own_site.session.connection.execute(text(f"ALTER TABLE mislaid RENAME TO {table}"))
        await_ready(pool)


def test_a_process_that_is_stopped_does_not_consume(own_small_site: Site) -> None:
    """Frozen by SIGSTOP or by code that holds the interpreter: it can prove nothing."""
    with own_small_site.pool() as pool:
        await_ready(pool)
        [worker] = pool.workers()
        os.kill(worker, signal.SIGSTOP)
        await_word(pool, "/healthz", DEAF)
        assert pool.metric("penstock_processes", kind="worker") == 1
        assert pool.metric("penstock_processes_healthy", kind="worker") == 0
        os.kill(worker, signal.SIGCONT)
        await_ready(pool)


def test_a_process_that_was_frozen_keeps_its_connection(own_site: Site) -> None:
    """RabbitMQ has answered meanwhile; that nobody was there to read it is no silence."""
    with own_site.pool(constants=FAST) as pool:
        await_ready(pool)
        [worker] = pool.workers()
        os.kill(worker, signal.SIGSTOP)
        await_word(pool, "/healthz", DEAF)  # for longer than the silence that is put up with
        os.kill(worker, signal.SIGCONT)
        await_ready(pool)
        assert pool.logged("connection to RabbitMQ lost") == []


def test_a_pool_with_every_thread_at_work_is_well(own_small_site: Site) -> None:
    """It has taken all that it can run; the figures say that it is full."""
    site = own_small_site
    with site.pool(threads=2) as pool:
        held = [site.publish(jobs.Gated(name="long")).job_id for _ in range(2)]
        site.sink.await_events("started", count=2)
        await_ready(pool)
        assert pool.metric("penstock_jobs_in_flight") == pool.metric("penstock_threads") == 2
        site.sink.open_gate("long")
        assert [site.await_end(job_id)["state"] for job_id in held] == ["completed"] * 2


def test_a_worker_that_cannot_start_is_missed(own_small_site: Site) -> None:
    """There is no process to count, and yet one is wanted."""
    nowhere = "postgresql://nobody@127.0.0.1:1/nothing"
    with own_small_site.pool(database_url=nowhere, wait=False) as pool:
        pool.await_log("waiting for the ledger")
        await_word(pool, "/readyz", DEAF)
        wanted = pool.metric("penstock_processes_wanted", kind="worker")
        assert wanted - pool.metric("penstock_processes_healthy", kind="worker") == 1


@pytest.mark.parametrize(
    ("part", "healthy"),
    [
        (None, True),
        ("deliveries", False),
        ("intake", False),
        ("settler", False),
        ("writing settler", False),
        ("thread", False),
        ("stop", False),
    ],
)
def test_a_worker_process_is_only_as_healthy_as_each_of_its_parts(part: str | None, healthy: bool) -> None:
    """What comes must be delivered, claimed, run and settled; one part that hangs holds up all."""

    def works(name: str) -> Any:
        return SimpleNamespace(is_healthy=part != name, is_consuming=part != name, is_alive=lambda: part != name)

    process = SimpleNamespace(
        deliveries=works("deliveries"),
        intake=works("intake"),
        settler=works("settler"),
        writing_settler=works("writing settler"),
        workers=[works("other"), works("thread")],
        stop_requested=SimpleNamespace(is_set=lambda: part == "stop"),
    )
    assert WorkerProcess._is_healthy(process) is healthy  # type: ignore[arg-type]
