"""What the gateway says when something behind it is gone: never 202 for what is not durable."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy.exc import OperationalError
from tests.producers.gateway.jobs import AddRow
from tests.producers.gateway.running import RunningGateway
from tests.producers.queues import Queues
from tests.servers.postgres import PrivatePostgres
from tests.waiting import until

from penstock.ledger.admission import admit
from penstock.ledger.database import Ledger, Session
from penstock.ledger.dialects import BadValue
from penstock.ledger.jobs import count_states
from penstock.ledger.migrations import migrate
from penstock.producers.gateway import acceptance

REPOSITORY = Path(__file__).resolve().parents[3]
# Six seconds, and what a machine takes that has others to serve; who waits for the ledger waits for ever.
ANSWER_SECONDS_MAX = 15.0


@pytest.fixture
def on_private_postgres(private_postgres: PrivatePostgres) -> Iterator[RunningGateway]:
    """A gateway whose Postgres may be stopped."""
    url = private_postgres.create_database()
    migrate(url)
    with RunningGateway(url) as gateway:
        yield gateway


@pytest.mark.faults
def test_without_postgres_there_is_no_receipt_and_afterwards_there_is(
    on_private_postgres: RunningGateway, private_postgres: PrivatePostgres
) -> None:
    """503 within a few seconds, readiness says so, and it heals by itself."""
    gateway = on_private_postgres
    assert gateway.submit(key="before").status_code == 202
    private_postgres.stop_immediately()
    started = time.monotonic()
    with ThreadPoolExecutor(20) as clients:
        answers = list(clients.map(lambda n: gateway.submit(key=f"k{n}"), range(20)))
    assert time.monotonic() - started < ANSWER_SECONDS_MAX
    assert {(it.status_code, it.headers["retry-after"]) for it in answers} == {(503, "2")}
    assert gateway.client.get("/readyz").status_code == 503
    assert gateway.client.get("/healthz").status_code == 200
    assert gateway.client.get("/v1/jobs").status_code == 503
    private_postgres.start()
    assert gateway.submit(key="k1").status_code == 202
    until(lambda: gateway.client.get("/readyz").status_code == 200, what="readiness")


@pytest.mark.faults
def test_a_short_outage_only_takes_time(private_postgres: PrivatePostgres) -> None:
    """Whoever asked during a restart gets a receipt after it."""
    url = private_postgres.create_database()
    migrate(url)
    # A restart may take longer than the five seconds that a gateway has for it otherwise.
    with RunningGateway(url, patience_seconds=15.0) as gateway, ThreadPoolExecutor(5) as clients:
        gateway.submit()
        private_postgres.stop_immediately()
        asked = [clients.submit(gateway.submit, key=f"k{n}") for n in range(5)]
        until(lambda: gateway.gateway.acceptance._session is None, what="the gateway to notice")
        private_postgres.start()
        assert [it.result().status_code for it in asked] == [202] * 5


@pytest.mark.faults
def test_a_postgres_that_hangs_is_no_reason_to_hang(
    on_private_postgres: RunningGateway, private_postgres: PrivatePostgres
) -> None:
    """SIGSTOP: the connection stays open and nothing comes."""
    gateway = on_private_postgres
    gateway.submit()
    pids = backends_of(private_postgres, gateway)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        assert gateway.submit(key="k").status_code == 503
        assert time.monotonic() - started < ANSWER_SECONDS_MAX
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    until(lambda: gateway.submit(key="k").status_code == 202, what="a receipt")


@pytest.mark.faults
def test_an_idle_gateway_notices_that_postgres_is_gone(
    on_private_postgres: RunningGateway, private_postgres: PrivatePostgres
) -> None:
    """Nobody has to be turned away for it: it asks by itself, and takes silence for no."""
    gateway = on_private_postgres
    until(lambda: gateway.client.get("/readyz").status_code == 200, what="readiness")
    private_postgres.stop_immediately()
    until(lambda: gateway.client.get("/readyz").status_code == 503, what="the outage to be noticed")
    private_postgres.start()
    until(lambda: gateway.client.get("/readyz").status_code == 200, what="readiness again")
    pids = backends_of(private_postgres, gateway)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: gateway.client.get("/readyz").status_code == 503, what="the silence")
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    until(lambda: gateway.client.get("/readyz").status_code == 200, what="readiness in the end")


def backends_of(postgres: PrivatePostgres, gateway: RunningGateway) -> list[int]:
    """The server processes of the gateway's sessions."""
    name = gateway.gateway.settings.database_url.rpartition("/")[2]
    with psycopg.connect(postgres.url.replace("+psycopg", "")) as connection:
        rows = connection.execute("SELECT pid FROM pg_stat_activity WHERE datname = %s", [name]).fetchall()
    return [pid for (pid,) in rows]


def test_without_rabbitmq_jobs_are_accepted(sqlite_url: str) -> None:
    """The dispatcher publishes them when it is back."""
    with RunningGateway(sqlite_url, broker_url="amqp://127.0.0.1:1/") as gateway:
        assert gateway.submit().json()["durable"] == "ledger"
        assert gateway.client.get("/readyz").status_code == 200


def test_a_commit_whose_answer_was_lost_is_no_second_job(
    gateway: RunningGateway, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same ids are offered again; a conflict is still one."""
    gateway.submit({"n": 1}, key="taken")
    lost: list[str] = []

    def admit_and_lose(session: Session, offers: Any) -> Any:
        admission = admit(session, offers)
        [offer] = offers
        if offer.message.id not in lost:
            lost.append(offer.message.id)
            raise OperationalError("COMMIT", None, OSError("gone"), connection_invalidated=True)
        return admission

    monkeypatch.setattr(acceptance, "admit", admit_and_lose)
    receipt = gateway.submit({"n": 2}, key="k")
    assert (receipt.status_code, receipt.json()["duplicate"]) == (202, False)
    assert gateway.submit({"n": 2}, key="taken").status_code == 409
    assert gateway.submit({"n": 1}, key="taken").json()["duplicate"] is True
    assert len(lost) == 3
    assert count_states(session) == {"available": 2, "dead": 1}


def test_one_bad_job_does_not_take_its_neighbours_along(
    gateway: RunningGateway, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger refuses a batch for one value: the others are accepted one by one."""
    jobs: list[Any] = [{"type": "demo.add_row", "version": 1, "payload": {"n": n}} for n in range(3)]

    def admit_but_one(session: Session, offers: Any) -> Any:
        if any(offer.message.body == b'{"n":1}' for offer in offers):
            raise BadValue("payload")
        return admit(session, offers)

    monkeypatch.setattr(acceptance, "admit", admit_but_one)
    results = gateway.client.post("/v1/jobs:batch", json={"jobs": jobs}).json()["results"]
    assert [it["status"] for it in results] == [202, 422, 202]
    assert count_states(session) == {"available": 2}


def test_a_key_in_an_open_transaction_holds_up_only_its_own_request(migrated_database_url: str) -> None:
    """A handler may publish in a transaction that it keeps open."""
    holder = "INSERT INTO dedup_keys VALUES ('demo.add_row', 'held', gen_random_uuid(), 'h', now() + interval '1 day')"
    with RunningGateway(migrated_database_url) as gateway, Ledger(migrated_database_url).session() as other:
        with other.transaction(), ThreadPoolExecutor(10) as clients:
            other.connection.exec_driver_sql(holder)
            held = clients.submit(gateway.submit, key="held")
            free = [clients.submit(gateway.submit, key=f"free{n}") for n in range(9)]
            assert [it.result().status_code for it in free] == [202] * 9
            answer = held.result()
        assert answer.status_code == 503
        assert "transaction that is still open" in answer.json()["detail"]


def test_who_has_asked_gets_a_receipt_when_the_gateway_stops(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In-flight requests are answered before it ends."""
    committing, go_on = threading.Event(), threading.Event()

    def admit_slowly(session: Session, offers: Any) -> Any:
        committing.set()
        assert go_on.wait(10)
        return admit(session, offers)

    monkeypatch.setattr(acceptance, "admit", admit_slowly)
    with RunningGateway(sqlite_url) as gateway, ThreadPoolExecutor(9) as clients:
        asked = [clients.submit(gateway.submit) for _ in range(8)]
        assert committing.wait(10)
        until(lambda: len(gateway.server.server_state.tasks) == 8, what="eight requests")
        stopped = clients.submit(gateway.stop)
        until(gateway.gateway.watch.stopping.is_set, what="the end to begin")
        go_on.set()
        assert [it.result().status_code for it in asked] == [202] * 8
        stopped.result()


def test_who_waits_for_a_job_is_answered_when_the_gateway_stops(sqlite_url: str) -> None:
    """With how the job is; events end."""
    with RunningGateway(sqlite_url) as gateway, ThreadPoolExecutor(2) as clients:
        job_id = gateway.submit().json()["id"]
        waiting = clients.submit(gateway.client.get, f"/v1/jobs/{job_id}?wait=20s")
        following = clients.submit(gateway.client.get, f"/v1/jobs/{job_id}/events")
        until(lambda: len(gateway.gateway.watch._places) == 2, what="two who wait")
        started = time.monotonic()
        gateway.stop()
        assert time.monotonic() - started < 5
        assert waiting.result().json()["state"] == "available"
        assert following.result().text.count("event: state") == 1


@pytest.mark.faults
def test_without_postgres_rabbitmq_takes_the_jobs_if_that_is_switched_on(
    private_postgres: PrivatePostgres, broker_url: str
) -> None:
    """The receipt says so; when Postgres is back, receipts are the ledger's again and the job is the same one."""
    url = private_postgres.create_database()
    migrate(url)
    with (
        Queues(broker_url) as queues,
        RunningGateway(url, broker_url=broker_url, accept_into_broker=True) as gateway,
    ):
        queues.bind(AddRow)
        assert gateway.submit(key="before").json()["durable"] == "ledger"
        private_postgres.stop_immediately()
        receipts = [gateway.submit({"n": n}, key=f"k{n}").json() for n in range(3)]
        assert [it["durable"] for it in receipts] == ["broker"] * 3
        arrived = queues.take()
        assert [it.id for it in arrived] == [it["id"] for it in receipts]
        assert arrived[1].body == b'{"n":1}'
        assert gateway.client.get("/readyz").text == "the ledger does not answer; RabbitMQ takes the jobs\n"
        mail = {"type": "mails.once", "payload": {"to": "a"}}
        unroutable = gateway.client.post("/v1/jobs", json=mail)
        assert (unroutable.status_code, "start a worker" in unroutable.json()["detail"]) == (503, True)
        private_postgres.start()
        until(lambda: gateway.submit(key="again").json()["durable"] == "ledger", what="the ledger's receipts")


@pytest.mark.faults
def test_without_both_there_is_no_receipt(private_postgres: PrivatePostgres) -> None:
    """Nothing is durable then."""
    url = private_postgres.create_database()
    migrate(url)
    with RunningGateway(url, broker_url="amqp://127.0.0.1:1/", accept_into_broker=True) as gateway:
        assert gateway.submit().status_code == 202
        private_postgres.stop_immediately()
        answer = gateway.submit(key="k")
        assert (answer.status_code, "neither the ledger nor RabbitMQ" in answer.json()["detail"]) == (503, True)
        assert gateway.client.get("/readyz").status_code == 503
    private_postgres.start()
