"""Jobs and types as the gateway shows them."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.ledger.samples import put
from tests.producers.gateway.running import RunningGateway
from tests.producers.gateway.test_submitting import complete
from tests.waiting import until

from penstock.ledger.audit import list_audit
from penstock.ledger.claims import claim_due
from penstock.ledger.database import Session
from penstock.ledger.jobs import show_job
from penstock.ledger.settlement import Failure, Outcome, settle
from penstock.ledger.state import State
from penstock.producers.gateway.watch import Watch
from penstock.schemas.identifiers import new_job_id


def test_a_job_is_shown_with_why_it_waits(gateway: RunningGateway) -> None:
    """And without its payload."""
    job_id = gateway.submit({"n": 1, "note": "the-secret"}, key="k").json()["id"]
    answer = gateway.client.get(f"/v1/jobs/{job_id}")
    document = answer.json()
    assert (document["state"], document["attempts"], document["result"], document["key"]) == ("available", 0, None, "k")
    assert "no worker process is registered" in document["waits_for"]
    assert "the-secret" not in answer.text


def test_a_job_that_failed_shows_its_failures(gateway: RunningGateway, session: Session) -> None:
    """As they may be shown."""
    job_id = gateway.submit().json()["id"]
    [claim] = claim_due(session, queues=["demo"], limit=1, token=7, process_id=new_job_id())
    failure = Failure(kind="failed", error_class="OSError", message="it broke", traceback="", fingerprint="f")
    settle(session, [Outcome(claim.id, 7, State.RETRYABLE, delay_seconds=60.0, failure=failure)])
    document = gateway.client.get(f"/v1/jobs/{job_id}").json()
    assert (document["state"], document["attempts"]) == ("retryable", 1)
    [told] = document["failures"]
    assert (told["attempt"], told["error_class"], told["message"]) == (1, "OSError", "it broke")
    assert "the next is due" in document["waits_for"]


@pytest.mark.parametrize(
    "job_id", ["x", "1", "%00", "01a20816-54c3-4791-a119-8b04ac81d790", pytest.param(new_job_id(), id="a new one")]
)
@pytest.mark.parametrize("below", ["", "/events", "/cancel"])
def test_an_unknown_job_is_not_found(door: RunningGateway, job_id: str, below: str) -> None:
    """Whatever its id looks like."""
    ask = door.client.post if below == "/cancel" else door.client.get
    answer = ask(f"/v1/jobs/{job_id}{below}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]


def test_waiting_ends_with_the_job(gateway: RunningGateway, session: Session) -> None:
    """With its result."""
    job_id = gateway.submit().json()["id"]
    with ThreadPoolExecutor(1) as clients:
        asked = clients.submit(gateway.client.get, f"/v1/jobs/{job_id}?wait=10s")
        complete(session, result=b'{"ok":true}')
        document = asked.result().json()
    assert (document["state"], document["result"]) == ("completed", {"ok": True})


def test_waiting_ends_with_its_time(lone: RunningGateway) -> None:
    """With the job as it is then."""
    job_id = lone.submit().json()["id"]
    answer = lone.client.get(f"/v1/jobs/{job_id}?wait=0.3s")
    assert (answer.status_code, answer.json()["state"]) == (200, "available")
    assert answer.elapsed.total_seconds() >= 0.3


@pytest.mark.parametrize("wait", ["31s", "-1s", "soon", "1h", "", "1e9", "nan"])
def test_nobody_waits_for_ever(door: RunningGateway, wait: str) -> None:
    """At most thirty seconds, in plain figures."""
    for answer in (
        door.client.get(f"/v1/jobs/{new_job_id()}", params={"wait": wait}),
        door.client.post("/v1/jobs", params={"wait": wait}, json={}),
    ):
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "wait"


def test_events_tell_each_state_until_the_end(gateway: RunningGateway, session: Session) -> None:
    """As server-sent events."""
    job_id = gateway.submit().json()["id"]
    with gateway.client.stream("GET", f"/v1/jobs/{job_id}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        assert state_of(lines) == "available"
        complete(session, result=b"1")
        states = [state_of(lines)]
        if states == ["executing"]:  # it was looked at in between
            states.append(state_of(lines))
        assert states[-1] == "completed"
        assert list(lines) in ([], [""])


def state_of(lines: Any) -> str:
    """The state in the next event."""
    line = next(it for it in lines if it.startswith("data: "))
    return str(json.loads(line.removeprefix("data: "))["state"])


def test_the_events_of_an_ended_job_are_its_end(gateway: RunningGateway, session: Session) -> None:
    """And the stream is over."""
    job_id = put(session, state="dead", reason="attempts", type="demo.add_row")
    answer = gateway.client.get(f"/v1/jobs/{job_id}/events")
    assert answer.text.count("event: state") == 1
    assert '"state":"dead","reason":"attempts"' in answer.text


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_who_goes_while_he_waits_gives_his_place_back(lone: RunningGateway, method: str) -> None:
    """At once, and not when his time is over."""
    places = lone.gateway.watch._places
    path, body = f"/v1/jobs/{lone.submit().json()['id']}", b""
    if method == "POST":
        path, body = "/v1/jobs", b'{"type":"demo.add_row","version":1,"payload":{"n":1}}'
    head = f"{method} {path}?wait=30s HTTP/1.1\r\nHost: [::1]\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", lone.port)) as connection:
        connection.sendall(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        until(lambda: len(places) == 1, what="the place to be taken")
    until(lambda: not places, timeout_seconds=5, what="the place to be free")


def test_the_places_in_the_watch_are_bounded(lone: RunningGateway) -> None:
    """Who finds none hears so, and who leaves gives one back."""
    gateway = lone.gateway
    gateway.watch = Watch(gateway.questions, places_max=1, log=gateway.log)
    job_id = lone.submit().json()["id"]
    with lone.client.stream("GET", f"/v1/jobs/{job_id}/events") as stream:
        lines = stream.iter_lines()
        state_of(lines)
        answer = lone.client.get(f"/v1/jobs/{job_id}/events")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    until(lambda: lone.client.get(f"/v1/jobs/{job_id}?wait=0.1s").status_code == 200, what="a place")


def test_jobs_are_listed_page_by_page(gateway: RunningGateway, session: Session) -> None:
    """Filtered, the newest first, each once."""
    ids = [gateway.submit({"n": n}).json()["id"] for n in range(5)]
    put(session, state="dead", reason="attempts", type="mails.once", queue="mails")
    found, cursor = [], None
    while True:
        query = {"type": "demo.add_row", "limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = gateway.client.get("/v1/jobs", params=query).json()
        found += [job["id"] for job in page["jobs"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert found == ids[::-1]
    assert "payload" not in page["jobs"][0]
    for filters, count in (({"state": "dead"}, 1), ({"queue": "demo"}, 5), ({"state": "completed"}, 0), ({}, 6)):
        assert len(gateway.client.get("/v1/jobs", params=filters).json()["jobs"]) == count


@pytest.mark.parametrize(
    ("field", "value"),
    [("state", "gone"), ("limit", "0"), ("limit", "999"), ("cursor", "x"), ("type", "%"), ("queue", "")],
)
def test_a_bad_filter_is_refused_by_its_name(door: RunningGateway, field: str, value: str) -> None:
    """With what would be right."""
    answer = door.client.get("/v1/jobs", params={field: value})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field


def test_a_waiting_job_is_cancelled(gateway: RunningGateway, session: Session) -> None:
    """At once, and the audit says by whom."""
    job_id = gateway.submit().json()["id"]
    assert gateway.client.post(f"/v1/jobs/{job_id}/cancel").json() == {"id": job_id, "outcome": "cancelled"}
    entry = list_audit(session)[0]
    assert (entry["actor"], entry["action"], entry["target"]) == ("anybody", "cancel", job_id)
    assert gateway.client.post(f"/v1/jobs/{job_id}/cancel").status_code == 200


def test_an_ended_job_is_not_cancelled(gateway: RunningGateway, session: Session) -> None:
    """The answer says how it ended."""
    job_id = put(session, state="completed", type="demo.add_row")
    answer = gateway.client.post(f"/v1/jobs/{job_id}/cancel")
    assert (answer.status_code, "completed already" in answer.json()["detail"]) == (409, True)


def test_a_running_job_is_asked_to_end(gateway: RunningGateway, session: Session) -> None:
    """By the id of a duplicate too."""
    job_id = gateway.submit(key="k").json()["id"]
    claim_due(session, queues=["demo"], limit=1, token=7, process_id=new_job_id())
    assert gateway.client.post(f"/v1/jobs/{job_id}/cancel").json()["outcome"] == "requested"
    job = show_job(session, job_id)
    assert job is not None
    assert job["cancel_requested_at"] is not None


def test_types_are_shown_with_their_contracts(door: RunningGateway) -> None:
    """Each version with the JSON Schema of its payload."""
    listed = door.client.get("/v1/types").json()["types"]
    assert [(it["type"], [v["version"] for v in it["versions"]]) for it in listed] == [
        ("demo.add_row", [1, 2]),
        ("mails.once", [1]),
    ]
    [version] = door.client.get("/v1/types/mails.once").json()["versions"]
    assert (version["guarantee"], version["unique_for_seconds"]) == ("at_most_once", 86400.0)
    assert version["payload_schema"]["required"] == ["to"]
    assert door.client.get("/v1/types/demo.none").status_code == 404


def test_the_frame_is_around_every_answer(door: RunningGateway) -> None:
    """The id of the request, the caller's own if it is plain, and the headers that harden."""
    answers = [
        door.client.get("/v1/types", headers={"X-Request-Id": "my-id.1"}),
        door.client.get("/nothing", headers={"X-Request-Id": "bad id!"}),
        door.client.put("/v1/jobs", headers={"Origin": "https://elsewhere.example"}),
        door.client.options("/v1/jobs", headers={"Origin": "https://elsewhere.example"}),
    ]
    assert answers[0].headers["x-request-id"] == "my-id.1"
    assert answers[1].headers["x-request-id"] != "bad id!"
    assert [it.status_code for it in answers] == [200, 404, 405, 405]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "server" not in answer.headers
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert "POST" in answers[2].headers["allow"]


def test_the_log_has_the_request_and_nothing_of_what_was_sent(lone: RunningGateway) -> None:
    """Neither payload nor key nor query."""
    lone.submit({"n": 1, "note": "payload-secret"}, key="key-secret", tenant="tenant-secret")
    lone.submit({"n": "payload-secret"})
    lone.client.get("/v1/jobs?cursor=query-secret")
    until(lambda: len([line for line in lone.lines if "event='request'" in line]) == 3, what="three lines")
    assert "secret" not in "".join(lone.lines)
    assert "route='/v1/jobs'" in "".join(lone.lines)
