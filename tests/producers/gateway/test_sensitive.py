"""Sensitive fields over HTTP: sent in the clear, sealed at the door."""

from collections.abc import Iterator
from types import ModuleType

import pytest
from tests.producers.gateway.running import RunningGateway
from tests.workers import jobs_sensitive

from penstock.console.serving import catalogue_of
from penstock.ledger.database import Session
from penstock.ledger.jobs import show_job
from penstock.schemas import Keyring
from penstock.schemas.sensitive import Seals
from penstock.workers import PenstockBroker, Registry

CARD = "4111-1111-1111-1111"
KEYRING = Keyring({"k1": b"1" * 32})


@pytest.fixture
def sealing(ledger_url: str) -> Iterator[RunningGateway]:
    """A gateway with a job that holds a card number."""
    module = ModuleType("jobs")
    vars(module).update(charge=jobs_sensitive.charge)
    registry = Registry(PenstockBroker())
    registry.collect(module)
    with RunningGateway(ledger_url, catalogue=catalogue_of(registry, keyring=KEYRING)) as gateway:
        yield gateway


def submitted(gateway: RunningGateway, **fields: str) -> dict[str, object]:
    """The job under one key."""
    payload = {"name": "Ada", "card": CARD, **fields}
    answer = gateway.client.post("/v1/jobs", json={"type": "test.charge", "payload": payload, "key": "k"})
    return {"status": answer.status_code, "text": answer.text, **answer.json()}


def test_a_sensitive_field_is_sealed_before_it_is_stored(sealing: RunningGateway, session: Session) -> None:
    """For its job only; neither ledger nor log nor answer has it."""
    receipt = submitted(sealing)
    job = show_job(session, str(receipt["id"]))
    assert job is not None
    opened = jobs_sensitive.Charge.from_body(job["payload"], Seals(KEYRING, job["id"]))
    assert (opened.name, opened.card.reveal()) == ("Ada", CARD)
    shown = sealing.client.get(f"/v1/jobs/{job['id']}").text
    assert CARD not in f"{job}{receipt}{shown}{sealing.lines}"


def test_the_same_secret_under_the_same_key_is_the_same_job(sealing: RunningGateway, session: Session) -> None:
    """Though its bytes differ each time; another one is a conflict that gives nothing away."""
    first, again, other = submitted(sealing), submitted(sealing), submitted(sealing, card="5500-0000-0000-0004")
    assert (again["id"], again["duplicate"]) == (first["id"], True)
    assert (other["status"], other["differs"]) == (409, ["payload"])
    named = submitted(sealing, name="Bob")
    assert named["differs"] == ["payload.name"]
    assert "5500-0000" not in f"{other['text']}{sealing.lines}"


def test_a_secret_that_does_not_fit_is_not_quoted(sealing: RunningGateway) -> None:
    """Only its name is."""
    answer = sealing.client.post("/v1/jobs", json={"type": "test.charge", "payload": {"name": 7, "card": [CARD]}})
    assert answer.status_code == 422
    assert CARD not in f"{answer.text}{sealing.lines}"
