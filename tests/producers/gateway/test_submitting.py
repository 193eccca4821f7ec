"""Jobs come in over HTTP."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from tests.producers.gateway.jobs import AddRow
from tests.producers.gateway.running import RunningGateway
from tests.waiting import until

from penstock.ledger.admission import admit
from penstock.ledger.claims import claim_due
from penstock.ledger.database import Session
from penstock.ledger.jobs import count_states, list_jobs, show_job
from penstock.ledger.settlement import Outcome, settle
from penstock.ledger.state import State
from penstock.producers.gateway import acceptance
from penstock.producers.ledger_producer import LedgerProducer
from penstock.schemas.identifiers import new_job_id


def test_a_receipt_says_where_the_job_is_durable(gateway: RunningGateway, session: Session) -> None:
    """And the job is in the ledger, with the bytes that were sent."""
    answer = gateway.client.post(
        "/v1/jobs",
        content=b'{"type": "demo.add_row", "version": 1, "payload" : {"n": 12345678901234567890, "note": "a \\" b"} }',
        headers={"Content-Type": "application/json; charset=utf-8"},
    )
    assert answer.status_code == 202
    receipt = answer.json()
    assert receipt == {
        "id": receipt["id"],
        "type": "demo.add_row",
        "key": None,
        "durable": "ledger",
        "duplicate": False,
    }
    assert answer.headers["location"] == f"/v1/jobs/{receipt['id']}"
    job = show_job(session, receipt["id"])
    assert job is not None
    assert (job["type"], job["queue"], job["state"], job["app_id"]) == (
        "demo.add_row",
        "demo",
        "available",
        "penstock-gateway",
    )
    assert job["payload"] == b'{"n":12345678901234567890,"note":"a \\" b"}'


def test_the_newest_version_is_taken_where_none_is_named(gateway: RunningGateway, session: Session) -> None:
    """Its contract decides what the payload must be."""
    answer = gateway.client.post("/v1/jobs", json={"type": "demo.add_row", "payload": {"n": 1, "m": 2}})
    [job] = list_jobs(session)
    assert (answer.status_code, job["version"]) == (202, 2)


def test_the_same_key_with_the_same_payload_gets_the_first_receipt(gateway: RunningGateway, session: Session) -> None:
    """However it is written, and with how the first one is."""
    first = gateway.submit({"n": 1}, key="k").json()
    body = b'{"payload": {"n":\n1}, "version": 1, "type": "demo.add_row", "key": "k"}'
    again = gateway.client.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"}).json()
    assert again["id"] == first["id"]
    assert (again["duplicate"], again["durable"], again["job"]["state"]) == (True, "ledger", "available")
    assert len(list_jobs(session)) == 1


def test_a_client_of_another_language_meets_the_same_job(gateway: RunningGateway, ledger_url: str) -> None:
    """What the Python client has published under the key is answered over HTTP."""
    with LedgerProducer(ledger_url) as producer:
        first = producer.publish(AddRow(n=3), key="k")
    again = gateway.submit({"n": 3, "note": ""}, key="k").json()
    assert (again["id"], again["duplicate"]) == (first.job_id, True)


def test_a_duplicate_is_answered_with_the_result_of_the_first(gateway: RunningGateway, session: Session) -> None:
    """As soon as there is one."""
    first = gateway.submit(key="k").json()
    complete(session, result=b'{"row":1.50}')
    again = gateway.submit(key="k")
    assert again.json()["job"]["state"] == "completed"
    assert b'"result":{"row":1.50}' in again.content
    assert again.json()["id"] == first["id"]


def test_the_same_key_with_another_payload_is_refused_with_the_fields_that_differ(
    gateway: RunningGateway, session: Session
) -> None:
    """By name, never by value; the conflict is recorded, the first job untouched."""
    first = gateway.submit({"n": 1, "note": "secret-one"}, key="k").json()
    answer = gateway.submit({"n": 1, "note": "secret-two"}, key="k")
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["differs"], problem["job_id"]) == (["payload.note"], first["id"])
    assert "payload.note" in problem["detail"]
    assert "secret" not in answer.text + "".join(gateway.lines)
    assert count_states(session) == {"available": 1, "dead": 1}


def test_a_key_is_that_of_one_type(gateway: RunningGateway) -> None:
    """Other types have keys of their own."""
    one = gateway.submit(key="k").json()
    other = gateway.client.post("/v1/jobs", json={"type": "mails.once", "payload": {"to": "a"}, "key": "k"}).json()
    assert one["id"] != other["id"]


@pytest.mark.parametrize("key", ['"quoted"', "quoted"])
def test_the_key_may_be_quoted_as_the_draft_standard_has_it(lone: RunningGateway, key: str) -> None:
    """It is the same key."""
    assert lone.submit(key=key).json()["key"] == "quoted"


def test_a_job_may_be_due_later(gateway: RunningGateway, session: Session) -> None:
    """At a time, or after a while."""
    due_at = datetime.now(UTC) + timedelta(hours=2)
    ids = [
        gateway.submit(due_at=due_at.isoformat()).json()["id"],
        gateway.submit(delay_seconds=7200).json()["id"],
        gateway.submit(due_at=due_at.isoformat(), delay_seconds=60).json()["id"],
    ]
    for job_id in ids:
        job = show_job(session, job_id)
        assert job is not None
        assert job["state"] == "scheduled"
        assert abs(job["due_at"] - due_at) < timedelta(minutes=1)


def test_what_is_handed_on_is_kept(gateway: RunningGateway, session: Session) -> None:
    """Correlation, tenant and trace."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    body = {"type": "demo.add_row", "version": 1, "payload": {"n": 1}, "tenant": "acme", "correlation_id": "c-1"}
    answer = gateway.client.post("/v1/jobs", json=body, headers={"traceparent": trace})
    job = show_job(session, answer.json()["id"])
    assert job is not None
    assert (job["tenant"], job["correlation_id"], job["traceparent"]) == ("acme", "c-1", trace)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"payload": {"n": "seven"}}, "payload.n"),
    ({"payload": {}}, "payload.n"),
    ({"payload": {"n": 1, "surplus": 1}}, "payload.surplus"),
    ({"payload": [1]}, "payload"),
    ({"type": "demo.unknown"}, "type"),
    ({"type": "no name"}, "type"),
    ({"type": 7}, "type"),
    ({"version": 9}, "version"),
    ({"version": 0}, "version"),
    ({"version": "1"}, "version"),
    ({"key": ""}, "key"),
    ({"key": "k" * 256}, "key"),
    ({"key": "a\u0000b"}, "key"),
    ({"due_at": "2026-11-23T07:00:00"}, "due_at"),
    ({"due_at": "soon"}, "due_at"),
    ({"due_at": "0001-01-01T00:00:00+14:00"}, "due_at"),
    ({"delay_seconds": -1}, "delay_seconds"),
    ({"delay_seconds": 1e300}, "delay_seconds"),
    ({"tenant": "\u001b[2J"}, "tenant"),
    ({"priority": 9}, "priority"),
]


@pytest.mark.parametrize(("changes", "field"), BAD)
def test_what_is_not_valid_is_refused_by_the_name_of_its_field(
    door: RunningGateway, changes: dict[str, Any], field: str
) -> None:
    """And nothing is accepted."""
    body = {"type": "demo.add_row", "version": 1, "payload": {"n": 1}} | changes
    answer = door.client.post("/v1/jobs", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    errors = answer.json()["errors"]
    assert field in [it["field"] for it in errors]
    assert all(it["detail"] for it in errors)
    assert door.client.get("/v1/jobs").json()["jobs"] == []


def test_a_batch_has_a_result_for_each_job(gateway: RunningGateway, session: Session) -> None:
    """In their order; what is wrong with one is no matter of the others."""
    gateway.submit({"n": 1}, key="taken")
    jobs: list[Any] = [
        {"type": "demo.add_row", "version": 1, "payload": {"n": 1}},
        {"type": "demo.unknown", "payload": {}},
        {"type": "demo.add_row", "version": 1, "payload": {"n": 1}, "key": "taken"},
        {"type": "demo.add_row", "version": 1, "payload": {"n": 2}, "key": "taken"},
        {"type": "demo.add_row", "version": 1, "payload": {"n": 5}, "key": "twice"},
        {"type": "demo.add_row", "version": 1, "payload": {"n": 5}, "key": "twice"},
        "no job",
        {"type": "demo.add_row", "version": 1, "payload": {"n": "x"}},
    ]
    answer = gateway.client.post("/v1/jobs:batch", json={"jobs": jobs})
    assert answer.status_code == 200
    document = answer.json()
    assert [it["status"] for it in document["results"]] == [202, 422, 202, 409, 202, 202, 422, 422]
    assert (document["accepted"], document["refused"]) == (4, 4)
    results = document["results"]
    assert results[2]["receipt"]["duplicate"] is True
    assert results[3]["problem"]["differs"] == ["payload.n"]
    twins = [results[4]["receipt"], results[5]["receipt"]]
    assert twins[0]["id"] == twins[1]["id"]
    assert sorted(it["duplicate"] for it in twins) == [False, True]
    assert count_states(session) == {"available": 3, "dead": 1}


def test_a_batch_holds_up_to_a_thousand_jobs(gateway: RunningGateway, session: Session) -> None:
    """And one more is refused as a whole."""
    job = {"type": "demo.add_row", "version": 1, "payload": {"n": 1}}
    assert gateway.client.post("/v1/jobs:batch", json={"jobs": [job] * 1000}).json()["accepted"] == 1000
    assert count_states(session) == {"available": 1000}
    for jobs in ([], [job] * 1001):
        answer = gateway.client.post("/v1/jobs:batch", json={"jobs": jobs})
        assert answer.status_code == 422
        assert "between 1 and 1000" in answer.json()["detail"]


def test_a_header_key_is_not_for_a_batch(door: RunningGateway) -> None:
    """It would make one job of all."""
    answer = door.client.post("/v1/jobs:batch", json={"jobs": [{}]}, headers={"Idempotency-Key": "k"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"


def test_one_key_a_thousand_times_from_fifty_clients_is_one_job(gateway: RunningGateway, session: Session) -> None:
    """All get the same receipt (F17)."""

    def submit(client: httpx.Client) -> tuple[int, str, bool]:
        body = {"type": "demo.add_row", "version": 1, "payload": {"n": 1}}
        answer = client.post("/v1/jobs", json=body, headers={"Idempotency-Key": "storm"})
        if answer.status_code == 503:  # a loaded machine: who is told to come again does so
            return submit(client)
        return answer.status_code, answer.json()["id"], answer.json()["duplicate"]

    def submit_twenty(_: int) -> list[tuple[int, str, bool]]:
        with httpx.Client(base_url=gateway.client.base_url, timeout=20) as client:
            return [submit(client) for _ in range(20)]

    with ThreadPoolExecutor(50) as clients:
        answers = [answer for twenty in clients.map(submit_twenty, range(50)) for answer in twenty]
    assert {status for status, _, _ in answers} == {202}
    assert len({job_id for _, job_id, _ in answers}) == 1
    assert sum(not duplicate for _, _, duplicate in answers) == 1
    assert count_states(session) == {"available": 1}


def test_concurrent_requests_share_commits(lone: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes while a commit is under way is committed together afterwards."""
    committing, go_on = threading.Event(), threading.Event()
    batches: list[int] = []

    def admit_slowly(session: Session, offers: Any) -> Any:
        batches.append(len(offers))
        committing.set()
        assert go_on.wait(10)
        return admit(session, offers)

    monkeypatch.setattr(acceptance, "admit", admit_slowly)
    with ThreadPoolExecutor(64) as clients:
        first = clients.submit(lone.submit)
        assert committing.wait(10)
        others = [clients.submit(lone.submit) for _ in range(63)]
        until(lambda: lone.gateway.acceptance._waiting_jobs == 63, what="those that wait")
        go_on.set()
        assert {it.result().status_code for it in [first, *others]} == {202}
    assert batches == [1, 63]
    assert "penstock_gateway_commit_jobs_sum 64.0" in lone.client.get("/metrics").text


def test_waiting_for_the_end_brings_the_result(gateway: RunningGateway, session: Session) -> None:
    """With the receipt, in one request."""
    with ThreadPoolExecutor(1) as clients:
        asked = clients.submit(
            gateway.client.post,
            "/v1/jobs?wait=10s",
            json={"type": "demo.add_row", "version": 1, "payload": {"n": 1}},
        )
        until(lambda: count_states(session), what="the job")
        complete(session, result=b"42")
        receipt = asked.result().json()
    assert (receipt["job"]["state"], receipt["job"]["result"]) == ("completed", 42)


def complete(session: Session, *, result: bytes) -> None:
    """Run the job that waits."""
    [claim] = claim_due(session, queues=["demo"], limit=1, token=7, process_id=new_job_id())
    outcome = Outcome(claim.id, claim.token, State.COMPLETED, result=result)
    assert settle(session, [outcome]) == set()
