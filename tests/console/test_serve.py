"""`penstock serve`."""

import json
import re
import socket
from pathlib import Path
from types import ModuleType

import httpx
import pytest
from tests.console.command import HANDLERS, Command, Running, Starter
from tests.servers.ports import free_port
from tests.waiting import until
from tests.workers.test_versions import Greet, greet

from penstock.console.serving import catalogue_of
from penstock.ledger import failpoints
from penstock.ledger.database import Session
from penstock.ledger.jobs import list_jobs, show_job
from penstock.schemas import Keyring
from penstock.workers import PenstockBroker, Registry


def url_of(gateway: Running) -> str:
    """Where it listens."""
    match = re.search(r'"(http://[\d.:]+)", "event": "gateway listens"', gateway.wait_for("gateway listens").text)
    assert match
    return match[1]


def test_it_takes_jobs_until_it_is_told_to_stop(running: Starter, session: Session) -> None:
    """On a ledger of either kind, with the types of its modules."""
    gateway = running("serve", "--jobs", HANDLERS, "--port", "0", "--no-auth")
    answer = httpx.post(f"{url_of(gateway)}/v1/jobs", json={"type": "demo.add", "payload": {"n": 1, "m": 2}})
    assert answer.status_code == 202
    [job] = list_jobs(session)
    assert (job["id"], job["queue"], job["version"]) == (answer.json()["id"], "demo", 2)
    types = httpx.get(f"{url_of(gateway)}/v1/types").json()["types"]
    assert "old_actor" in [it["type"] for it in types]
    assert gateway.stop() == 0
    assert "gateway stopped" in gateway.text


def test_an_embedded_ledger_is_made_by_itself(running: Starter) -> None:
    """And its limit is said."""
    gateway = running("serve", "--jobs", HANDLERS, "--port", "0", "--no-auth")
    until(lambda: httpx.get(f"{url_of(gateway)}/readyz").status_code == 200, what="readiness")
    assert "penstock_gateway_ready 1.0" in httpx.get(f"{url_of(gateway)}/metrics").text
    assert "for one host only" in gateway.text


def test_failpoints_in_the_environment_are_said_at_the_start(
    running: Starter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has set them in production finds out soon."""
    monkeypatch.setenv(failpoints.VARIABLE, str(tmp_path))
    gateway = running("serve", "--jobs", HANDLERS, "--port", "0", "--no-auth")
    url_of(gateway)
    assert "this process can be killed at its failpoints" in gateway.text


def test_a_metrics_port_that_cannot_be_is_refused(penstock: Command) -> None:
    """It is the port of the jobs, or somebody else's."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for words in (("--port", "0", "--metrics-port", port), ("--port", port, "--metrics-port", port)):
            answer = penstock("serve", "--jobs", HANDLERS, "--no-auth", *words)
            assert (answer.code, answer.error.startswith(f"--metrics-port {port}: ")) == (2, True)


def test_health_and_metrics_may_have_a_port_of_their_own(running: Starter, session: Session) -> None:
    """Whoever sends jobs sees no metrics then; a load balancer still finds the health."""
    port = free_port()
    gateway = running("serve", "--jobs", HANDLERS, "--port", "0", "--no-auth", "--metrics-port", str(port))
    gateway.wait_for("metrics and health")
    until(lambda: httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200, what="readiness")
    assert httpx.get(f"http://127.0.0.1:{port}/healthz").text == "the gateway answers\n"
    metrics = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    assert "penstock_gateway_ready 1.0" in metrics
    assert 'penstock_gateway_problems_total{code="busy"} 0.0' in metrics
    assert httpx.get(f"{url_of(gateway)}/metrics").status_code == 404
    assert httpx.get(f"{url_of(gateway)}/readyz").status_code == 200
    assert gateway.stop() == 0


def test_without_asking_for_credentials_it_listens_on_loopback_only(penstock: Command) -> None:
    """Whoever can reach it could do everything."""
    answer = penstock("serve", "--jobs", HANDLERS, "--host", "0.0.0.0", "--no-auth")
    assert answer.code == 2
    assert answer.error.startswith("--host 0.0.0.0: ")
    assert "127.0.0.1" in answer.error


def test_with_a_key_it_may_listen_anywhere(penstock: Command, running: Starter, session: Session) -> None:
    """Whoever has none is told how to get one; it may be made while the gateway runs."""
    gateway = running("serve", "--jobs", HANDLERS, "--host", "0.0.0.0", "--port", "0")
    gateway.wait_for("nobody has credentials yet")
    key = penstock("keys", "create", "shop", "--scope", "publish:demo.*", "--json").document["key"]
    url = url_of(gateway).replace("0.0.0.0", "127.0.0.1")
    job = {"type": "demo.once", "payload": {}}
    refused = httpx.post(f"{url}/v1/jobs", json=job)
    assert (refused.status_code, "penstock keys create" in refused.json()["detail"]) == (401, True)
    assert httpx.post(f"{url}/v1/jobs", json=job, headers={"Authorization": f"Bearer {key}"}).status_code == 202
    assert key not in gateway.text


@pytest.mark.parametrize(
    "settings",
    [
        {"PENSTOCK_JWKS_URL": "https://id.example/keys"},
        {
            "PENSTOCK_JWKS_URL": "http://id.example/keys",
            "PENSTOCK_JWT_ISSUER": "https://id.example",
            "PENSTOCK_JWT_AUDIENCE": "penstock",
        },
    ],
)
def test_half_a_provider_is_none(penstock: Command, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]) -> None:
    """Neither is one whose keys could be forged on their way."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    answer = penstock("serve", "--jobs", HANDLERS)
    assert (answer.code, "PENSTOCK_JWKS_URL" in answer.error) == (2, True)


@pytest.mark.parametrize(
    "words", [("--port", "{taken}"), ("--host", "no.such.host.invalid"), ("--jobs", "no.such.module")]
)
def test_what_would_stop_it_later_is_refused_at_once(penstock: Command, words: tuple[str, str]) -> None:
    """In one line that names the option."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        option, value = words[0], words[1].format(taken=taken.getsockname()[1])
        answer = penstock("serve", "--jobs", HANDLERS, option, value)
    assert answer.code == 2
    assert answer.error.startswith(option)


def test_the_openapi_document_needs_no_server(penstock: Command, folder: Path) -> None:
    """Neither a ledger nor a port."""
    document = penstock("serve", "--jobs", HANDLERS, "--openapi").document
    assert document["openapi"].startswith("3.1")
    assert "Submission.demo.fail.v1" in document["components"]["schemas"]
    assert list(folder.iterdir()) == []


def test_old_versions_and_old_names_are_taken_as_workers_take_them() -> None:
    """A client is not released together with the handlers."""
    module = ModuleType("jobs")
    vars(module).update(greet=greet)
    registry = Registry(PenstockBroker())
    registry.collect(module)
    catalogue = catalogue_of(registry)
    assert list(catalogue) == ["demo.greet"]
    assert sorted(catalogue.versions("demo.hello")) == [1, 2]
    old = catalogue.find("demo.hello", 1)
    assert old.read(b'{"name":"Ada"}') == Greet(name="Ada", polite=True)
    assert (old.contract.type, old.contract.version) == ("demo.greet", 1)


def test_sensitive_fields_are_taken_in_the_clear_and_sealed_before_they_are_kept(
    running: Starter, penstock: Command, session: Session, ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody but the handler sees them again: not in an answer, nor in the log or the ledger."""
    words, canary = ("serve", "--jobs", "tests.workers.jobs_sensitive", "--port", "0", "--no-auth"), "canary-4111"
    refused = penstock(*words)
    assert (refused.code, "set PENSTOCK_KEYRING" in refused.error) == (2, True)
    setting = f"a:{'A' * 43}="
    monkeypatch.setenv("PENSTOCK_KEYRING", setting)
    gateway = running(*words)
    url = f"{url_of(gateway)}/v1"

    def post(card: object, **payload: object) -> httpx.Response:
        body = {"type": "test.charge", "payload": {"name": "x", "card": card, **payload}}
        return httpx.post(f"{url}/jobs", json=body, headers={"Idempotency-Key": "k"})

    first, again, other, bad = post(canary), post(canary), post("another"), post([canary], end=canary)
    assert (first.status_code, first.json()["id"]) == (202, again.json()["id"])
    assert other.status_code in (409, 422)
    assert bad.status_code == 422
    job = show_job(session, first.json()["id"])
    assert job is not None
    sealed = json.loads(job["payload"])["card"]
    assert "bound to another job" in post(sealed).text
    assert Keyring.parse(setting).open(sealed, job_id=job["id"], field="card") == f'"{canary}"'.encode()
    told = httpx.get(f"{url}/types/test.charge").text + httpx.get(f"{url}/jobs/{job['id']}").text
    for text in (gateway.text, told, first.text, again.text, other.text, bad.text, str(job)):
        assert canary not in text
    schema = next(iter(httpx.get(f"{url}/types/test.charge").json()["versions"]))["payload_schema"]
    assert schema["properties"]["card"] == {"type": "string", "title": "Card", "writeOnly": True}
