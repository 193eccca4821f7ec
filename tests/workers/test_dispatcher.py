"""The dispatcher on real servers: what is due is published, what was lost is found, and no queue stops another."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from pika.exchange_type import ExchangeType
from structlog.testing import capture_logs
from tests.ledger.samples import put, row_of
from tests.waiting import until
from tests.workers.amqp import channel_on, consuming, ready

from penstock.ledger import dispatches
from penstock.ledger.database import Ledger, Session
from penstock.workers import dispatcher as module
from penstock.workers import topology
from penstock.workers.caretaker_metrics import CaretakerMetrics
from penstock.workers.dispatcher import Dispatcher
from penstock.workers.metric_files import MetricFiles


@pytest.fixture
def session(migrated_database_url: str) -> Iterator[Session]:
    """A session of the test's own."""
    with Ledger(migrated_database_url).session() as session:
        yield session


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals of tenths of a second."""
    for name, seconds in {"LOST_CHECK_SECONDS": 0.2, "LOST_AFTER_SECONDS": 0.5}.items():
        monkeypatch.setattr(module, name, seconds)


@contextmanager
def dispatching(database_url: str, broker_url: str, folder: Path) -> Iterator[Dispatcher]:
    """A dispatcher, which knows of no registry."""
    dispatcher = Dispatcher(
        Ledger(database_url),
        broker_url=broker_url,
        metrics=CaretakerMetrics(MetricFiles(folder / "metrics", "dispatcher")),
        log=structlog.get_logger(),
    )
    dispatcher.start()
    try:
        yield dispatcher
    finally:
        dispatcher.stop()


def taken(channel: Any, queue: str = "nobody") -> Any:
    """The next message of a queue."""
    return channel.basic_get(queue, auto_ack=True)


def test_what_is_due_is_published_though_nobody_has_declared_anything(
    session: Session, migrated_database_url: str, broker_url: str, tmp_path: Path
) -> None:
    """Neither exchange nor queue nor binding is there: the dispatcher declares them, if they are still missing."""
    job_id = put(session, queue="nobody", type="nobody.knows", state="retryable")
    began = time.monotonic()
    with dispatching(migrated_database_url, broker_url, tmp_path), channel_on(broker_url) as channel:
        until(lambda: ready(broker_url, "nobody") == 1, what="the message")
        assert time.monotonic() - began > topology.GONE_SECONDS
        method, properties, body = taken(channel)
        assert method is not None
        assert properties is not None
        assert (properties.message_id, properties.type) == (job_id, "nobody.knows")
        assert body == b'{"n":1}'
        until(lambda: row_of(session, job_id).dispatched_at is not None, what="the mark")


def test_a_full_queue_holds_up_no_other(
    session: Session, migrated_database_url: str, broker_url: str, tmp_path: Path
) -> None:
    """RabbitMQ refuses what does not fit; the queue behind it in the alphabet is served all the same."""
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish", "x-queue-type": "quorum"}
    with channel_on(broker_url) as channel:
        channel.exchange_declare("penstock.jobs", ExchangeType.topic, durable=True)  # type: ignore[arg-type]
        channel.queue_declare("a-full", durable=True, arguments=arguments)
        channel.queue_bind("a-full", "penstock.jobs", routing_key="a.full")
    for _ in range(5):
        put(session, queue="a-full", type="a.full")
    with dispatching(migrated_database_url, broker_url, tmp_path):
        until(lambda: ready(broker_url, "a-full"), what="the queue to be full")
        put(session, queue="b-free", type="b.free")
        until(lambda: ready(broker_url, "b-free") == 1, what="the first of the other queue")
        started = time.monotonic()
        for count in range(2, 8):
            put(session, queue="b-free", type="b.free")
            until(lambda count=count: ready(broker_url, "b-free") == count, what="the others")  # type: ignore[misc]
        assert time.monotonic() - started < 8


def test_what_is_due_is_published_though_it_cannot_be_counted_in_time(
    session: Session,
    migrated_database_url: str,
    broker_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Many long queues, or a slow disk: the time limit of statements ends the count, and only a metric is old."""

    def count_slowly(counting: Session) -> None:
        counting.connection.exec_driver_sql("SET statement_timeout = '50ms'")
        counting.connection.exec_driver_sql("SELECT pg_sleep(60)")

    monkeypatch.setattr(dispatches, "due_queues", count_slowly)
    put(session, queue="test", type="test.note")
    with dispatching(migrated_database_url, broker_url, tmp_path):
        until(lambda: ready(broker_url, "test") == 1, what="the message")


def test_however_long_a_count_takes_the_next_one_is_not_put_off_for_ever(
    migrated_database_url: str, broker_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alerts and autoscalers forget what was counted more than a minute ago."""
    counts: list[int] = []
    count = dispatches.due_queues

    def counted(counting: Session) -> list[tuple[str, int, float]]:
        counts.append(1)
        return count(counting)

    monkeypatch.setattr(dispatches, "due_queues", counted)
    for name, value in {"COUNT_SECONDS": 0.05, "COUNT_SECONDS_MAX": 0.1, "COUNTING_SHARE": 1e-9}.items():
        monkeypatch.setattr(module, name, value)
    with dispatching(migrated_database_url, broker_url, tmp_path):
        until(lambda: len(counts) > 2, what="the third count")


def test_a_queue_that_is_not_ours_is_named_without_a_storm_of_logs(
    session: Session, migrated_database_url: str, broker_url: str, tmp_path: Path
) -> None:
    """It exists with other arguments, and the type is not bound to it."""
    with channel_on(broker_url) as channel:
        channel.queue_declare("classic", durable=True)
    put(session, queue="classic", type="a.classic")
    began = time.monotonic()
    with capture_logs() as logs, dispatching(migrated_database_url, broker_url, tmp_path):
        until(lambda: [line for line in logs if line["event"].startswith("a queue takes nothing")], what="the log")
        put(session, queue="other", type="an.other")
        until(lambda: ready(broker_url, "other") == 1, what="the other queue")
    told = [line for line in logs if line.get("queue") == "classic"]
    # However long this has taken: each line came when the queue had been left alone for as long as the last one said.
    assert sum(line["held_seconds"] for line in told[:-1]) < time.monotonic() - began
    assert "other arguments" in told[0]["detail"]


def test_a_message_that_vanished_is_dispatched_again(
    session: Session, migrated_database_url: str, broker_url: str, tmp_path: Path
) -> None:
    """Its queue was seen empty since, and nobody has claimed it."""
    put(session, queue="test", type="test.note")
    with dispatching(migrated_database_url, broker_url, tmp_path), channel_on(broker_url) as channel:
        until(lambda: ready(broker_url, "test") == 1, what="the message")
        channel.queue_purge("test")
        until(lambda: ready(broker_url, "test") == 1, what="the message to be back")


def test_a_queue_that_was_deleted_is_declared_again_with_what_was_in_it(
    session: Session, migrated_database_url: str, broker_url: str, tmp_path: Path
) -> None:
    """Its dispatched rows are nobody's; also the exchange may be gone."""
    for _ in range(3):
        put(session, queue="test", type="test.note")
    with dispatching(migrated_database_url, broker_url, tmp_path), channel_on(broker_url) as channel:
        until(lambda: ready(broker_url, "test") == 3, what="the messages")
        channel.queue_delete("test")
        channel.exchange_delete("penstock.jobs")
        until(lambda: ready(broker_url, "test") == 3, what="the messages to be back")


def test_consumers_of_a_queue_that_is_deleted_are_told_before_it_is_declared_again(
    session: Session, migrated_database_url: str, broker_url: str, tmp_path: Path
) -> None:
    """Else they would wait for ever, and RabbitMQ count what comes as delivered to them."""
    with (
        consuming(broker_url, {"test": {"test.note"}}) as one,
        consuming(broker_url, {"test": {"test.note"}}) as another,
        dispatching(migrated_database_url, broker_url, tmp_path),
        channel_on(broker_url) as channel,
    ):
        before = one.generation, another.generation
        ids = [put(session, queue="test", type="test.note") for _ in range(50)]
        channel.queue_delete("test")
        until(lambda: all(row_of(session, it).dispatched_at for it in ids), what="a new queue that has taken them")
        until(lambda: one.generation > before[0] and another.generation > before[1], what="both consumers to be told")
        until(lambda: one.is_consuming and another.is_consuming, what="both to consume again")


def test_two_dispatchers_do_no_harm_and_hardly_any_double_work(
    session: Session, migrated_database_url: str, broker_url: str, tmp_path: Path
) -> None:
    """The lease lets one work; when it is gone the other goes on."""
    with dispatching(migrated_database_url, broker_url, tmp_path / "b") as second:
        with dispatching(migrated_database_url, broker_url, tmp_path / "a"):
            for _ in range(20):
                put(session, queue="test", type="test.note")
            until(lambda: ready(broker_url, "test") == 20, what="the first twenty")
        put(session, queue="test", type="test.note")
        until(lambda: ready(broker_url, "test") == 21, what="the one after the hand-over")
        assert second.is_healthy


def test_no_more_than_a_window_is_on_its_way(
    session: Session,
    migrated_database_url: str,
    broker_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """RabbitMQ is never a second backlog."""
    monkeypatch.setattr(module, "WINDOW_JOBS", 5)
    for _ in range(12):
        put(session, queue="test", type="test.note")
    with dispatching(migrated_database_url, broker_url, tmp_path) as dispatcher:
        until(lambda: ready(broker_url, "test") == 5, what="the window to be full")
        passed = dispatcher.passed_at
        until(lambda: dispatcher.passed_at > passed + 0.3, what="some more passes")
        assert ready(broker_url, "test") == 5
        session.connection.exec_driver_sql("UPDATE jobs SET state = 'completed' WHERE dispatched_at IS NOT NULL")
        until(lambda: ready(broker_url, "test") == 10, what="the next window, once the first is claimed")
