"""A secret in a payload reaches its handler, and no log, metric, error, table or page."""

import base64
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from sqlalchemy import select
from tests.console.command import Command
from tests.one_worker import OneWorker
from tests.waiting import until
from tests.workers import jobs_sensitive
from tests.workers.jobs_sensitive import Charge, charge, fingerprint, refund
from tests.workers.sink import VARIABLE, Sink
from tests.workers.site import Site

from penstock.ledger.database import Session
from penstock.ledger.tables import metadata
from penstock.producers import InvalidJob, KeyConflict, Producer
from penstock.producers.ledger_producer import LedgerProducer
from penstock.schemas import Keyring, Message, Sensitive
from penstock.workers import PenstockBroker, Pool, Registry, WorkerConfigurationError
from penstock.workers.supervisor import Supervisor

KEY = os.urandom(32)
RING = Keyring({"2026": KEY})
SETTING = f"2026:{base64.b64encode(KEY).decode()}"


def a_charge(card: str, **fields: str) -> Charge:
    """A charge of this card."""
    return Charge.model_validate({"name": "x", "card": Sensitive(card), **fields})


@pytest.fixture(autouse=True)
def sink(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sink:
    """Where handlers that run in this process leave their notes."""
    sink = Sink(tmp_path / "notes")
    monkeypatch.setenv(VARIABLE, str(sink.path))
    return sink


@pytest.fixture
def worker(ledger_url: str) -> Iterator[OneWorker]:
    """A worker with the keys."""
    with OneWorker(ledger_url, [charge, refund], keyring=RING) as worker:
        yield worker


def test_the_same_clear_payload_twice_under_a_key_is_one_job(worker: OneWorker) -> None:
    """Though its bytes differ; another one is a conflict."""
    first = worker.publish(a_charge("4111-1111"), key="k")
    assert worker.publish(a_charge("4111-1111"), key="k") == first
    with pytest.raises(KeyConflict):
        worker.publish(a_charge("4222-2222"), key="k")


def test_it_is_the_same_job_over_a_rotation_of_keys(ledger_url: str) -> None:
    """As long as the two publishers share a key."""
    rotated = Keyring({"2027": bytes(32), "2026": KEY})
    with OneWorker(ledger_url, [charge], keyring=rotated) as worker:
        ids = {
            LedgerProducer(ledger_url, keyring=ring).publish(a_charge("4111-1111"), key="k").job_id
            for ring in (RING, rotated, RING)
        }
        assert len(ids) == 1
        worker.run_due()
        assert worker.show(ids.pop())["state"] == "completed"


def test_without_its_key_a_job_waits_unburnt_for_a_worker_that_has_it(ledger_url: str) -> None:
    """A key that was taken out too early is put back, not mourned."""
    with OneWorker(ledger_url, [charge], keyring=Keyring({"2020": bytes(32)})) as worker:
        job_id = LedgerProducer(ledger_url, keyring=RING).publish(a_charge("4111-1111")).job_id
        worker.run_due()
        row = worker.show(job_id)
        assert (row["state"], row["reason"], row["attempts"]) == ("available", "unknown_key", 0)
    with OneWorker(ledger_url, [charge], keyring=RING) as worker:
        assert worker.retry(job_id)["state"] == "completed"


def test_an_error_that_quotes_a_secret_is_kept_without_it(worker: OneWorker) -> None:
    """Also the last digits alone, which are too short to be blanked out of other payloads."""
    row = worker.run(a_charge("123", end="fail"))
    assert [attempt["message"] for attempt in row["history"]] == [
        "the bank does not like [redacted], [redacted]",
    ]


def test_an_error_while_it_is_opened_is_kept_without_its_text(ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A validator of the author's may raise anything, with the value in it."""

    card = "4111-1111"

    def quote(*_: object) -> None:
        raise RuntimeError(f"what is {card}?")

    monkeypatch.setattr(jobs_sensitive.Charge, "from_body", quote)
    with OneWorker(ledger_url, [charge], keyring=RING) as worker:
        row = worker.run(a_charge(card))
    [attempt] = row["history"]
    assert (attempt["error_class"], "4111-1111" in str(row["history"])) == ("RuntimeError", False)


def test_a_clear_value_on_the_wire_is_a_dead_letter_that_says_so(worker: OneWorker, ledger_url: str) -> None:
    """The publisher has to be mended before it does that a thousand times."""
    message = Message.raw(type="test.charge", body=b'{"name": "x", "card": "4111-1111"}')
    LedgerProducer(ledger_url).publish_message(message, queue="test")
    worker.run_due()
    row = worker.show(message.id)
    assert (row["state"], row["reason"]) == ("dead", "invalid_payload")
    assert "field 'card': must be sealed" in row["error"]
    assert "4111-1111" not in row["error"]


def test_a_producer_without_a_keyring_says_what_it_needs(ledger_url: str) -> None:
    """Nothing is sent."""
    with pytest.raises(InvalidJob, match="needs a keyring"):
        LedgerProducer(ledger_url).publish(a_charge("4111-1111"))


def test_a_worker_without_a_keyring_does_not_start(tmp_path: Path) -> None:
    """It could open nothing."""
    registry = Registry.load(["tests.workers.jobs_sensitive"], broker=PenstockBroker())
    pool = Pool(name="p", modules=(), database_url=f"sqlite:///{tmp_path / 'x.db'}", state_dir=tmp_path)
    with pytest.raises(WorkerConfigurationError, match=r"test.charge, test.refund: has .* set PENSTOCK_KEYRING"):
        Supervisor(pool, registry, log=structlog.get_logger()).run()


def test_a_canary_is_in_no_log_metric_table_or_page(own_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through success, failure, dead letter, crash, a duplicate and a follow-up, on real servers and the command."""
    site, canary = own_site, f"canary-{secrets.token_hex(16)}"
    ends = ["well", "fail", "bury", "crash", "publish"]
    with (
        site.pool(modules=["tests.workers.jobs_sensitive"], keyring=SETTING) as pool,
        Producer(site.broker_url, keyring=RING) as producer,
    ):
        receipts = producer.publish_many((a_charge(canary, end=end, name=end), end) for end in ends)
        ids = {receipt.key: receipt.job_id for receipt in receipts}
        duplicate = producer.publish(a_charge(canary, name="well"), key="well").job_id
        rows = {end: site.await_end(job_id, timeout_seconds=40) for end, job_id in ids.items()}
        until(lambda: site.job(duplicate), what="the duplicate to be absorbed")
        [refunded] = site.sink.await_events("refunded")
        pages = pool.get("/metrics")[1] + pool.get("/healthz")[1] + pool.get("/readyz")[1]
        logs = pool.log_text()
    assert {end: (row["state"], row["reason"]) for end, row in rows.items()} == {
        "well": ("completed", None),
        "fail": ("dead", "attempts"),
        "bury": ("dead", "permanent"),
        "crash": ("dead", "crash"),
        "publish": ("completed", None),
    }
    assert refunded["card"] == fingerprint(canary)
    assert {event["card"] for event in site.sink.events("charged")} == {fingerprint(canary)}
    assert site.job(duplicate)["id"] == ids["well"]
    assert "[sensitive]" in logs
    told = _commands(site, [*ids.values(), duplicate], monkeypatch)
    assert "[sealed]" in told
    tables = _tables(site.session)
    assert "test.charge" in tables
    for text in (logs, pages, told, tables, _files(site.folder / "state")):
        assert canary not in text


def _commands(site: Site, ids: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Everything that an operator can make the command print about these jobs."""
    monkeypatch.setenv("PENSTOCK_DATABASE_URL", site.database_url)
    monkeypatch.setenv("PENSTOCK_BROKER_URL", site.broker_url)
    penstock = Command(monkeypatch)
    words = [("jobs", "list"), ("dead", "list"), ("dead", "list", "--each"), ("quarantine", "list")]
    words += [("jobs", "show", job_id, "--payload") for job_id in ids]
    answers = [penstock(*line, *extra) for line in words for extra in ((), ("--json",))]
    assert {int(answer.code) for answer in answers} == {0}
    return "".join(answer.out + answer.err for answer in answers)


def _tables(session: Session) -> str:
    """Everything that the ledger holds."""
    rows = [
        [bytes(value) if isinstance(value, memoryview | bytes) else value for value in row]
        for table in metadata.tables.values()
        for row in session.connection.execute(select(table))
    ]
    return str(rows)


def _files(folder: Path) -> str:
    """Everything that workers leave on the disk."""
    return "".join(path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file())
