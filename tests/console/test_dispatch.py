"""`penstock dispatch`."""

import signal
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from tests.console.command import HANDLERS, Command, Starter
from tests.servers.ports import free_port
from tests.waiting import until

from penstock.ledger.database import Session
from penstock.ledger.jobs import show_job
from penstock.producers.ledger_producer import LedgerProducer
from penstock.schemas import Message
from penstock.workers import topology

DISPATCHING = '"event": "dispatching"'


def a_due_job(url: str) -> str:
    """The id of a job in the ledger, which is due."""
    return LedgerProducer(url).publish_message(Message.raw(type="demo.add", body=b'{"n":1}'), queue="demo").job_id


def test_due_jobs_come_to_their_queue_which_is_declared_if_need_be(
    running: Starter, full: Session, migrated_database_url: str, broker_url: str
) -> None:
    """Without any worker."""
    job_id = a_due_job(migrated_database_url)
    dispatcher = running("dispatch").wait_for(DISPATCHING)

    def dispatched() -> bool:
        job = show_job(full, job_id)
        return job is not None and job["dispatched_at"] is not None

    until(dispatched, what="the mark of the dispatcher")
    assert topology.count_ready(broker_url, {"demo"}, name="test") == {"demo": 1}
    assert dispatcher.stop() == 0


def test_together_with_a_worker_that_does_not_dispatch(
    running: Starter, full: Session, migrated_database_url: str
) -> None:
    """What is in the ledger comes to the worker through the broker."""
    job_id = a_due_job(migrated_database_url)
    dispatcher = running("dispatch")
    worker = running("worker", "--jobs", HANDLERS, "--no-dispatch", "--metrics-port", "0")

    def completed() -> bool:
        job = show_job(full, job_id)
        return job is not None and job["state"] == "completed"

    until(completed, timeout_seconds=30, what="the job to complete")
    assert (worker.stop(), dispatcher.stop()) == (0, 0)


def test_many_may_run_on_one_host(running: Starter, full: Session) -> None:
    """Each has metrics of its own, and either signal stops it."""
    first, second = running("dispatch").wait_for(DISPATCHING), running("dispatch").wait_for(DISPATCHING)
    assert first.stop(signal.SIGTERM) == 0
    assert second.stop(signal.SIGINT) == 0


def test_its_health_is_that_it_passes(running: Starter, full: Session) -> None:
    """On the port asked for, beside its metrics."""
    port = free_port()
    running("dispatch", "--metrics-port", str(port)).wait_for("metrics and health")

    def get(path: str) -> tuple[int, bytes]:
        try:
            with urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return answer.status, answer.read()
        except HTTPError as error:
            return error.code, error.read()

    until(lambda: get("/readyz")[0] == 200, what="readiness")
    assert get("/healthz") == (200, b"the dispatcher passes\n")
    assert b"penstock_dispatcher_last_pass_timestamp_seconds" in get("/metrics")[1]
    assert get("/")[0] == 404


def test_without_a_broker_it_rescues(running: Starter, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And says that the ledger is for one host."""
    monkeypatch.setenv("PENSTOCK_DATABASE_URL", sqlite_url)
    dispatcher = running("dispatch").wait_for(DISPATCHING)
    assert dispatcher.stop() == 0
    assert "for one host only" in dispatcher.text


def test_a_ledger_without_tables_is_refused_with_the_remedy(
    penstock: Command, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 1."""
    monkeypatch.setenv("PENSTOCK_DATABASE_URL", database_url)
    answer = penstock("dispatch")
    assert answer.code == 1
    assert "run `penstock migrate`" in answer.error
