"""What a gateway says of itself: what it refuses and why, who is connected, and whether it accepts jobs."""

import socket
import threading

import pytest
from tests.producers.gateway.running import RunningGateway
from tests.waiting import until

from penstock.producers.gateway import acceptance, health, protocol


def figure(gateway: RunningGateway, name: str, **labels: str) -> float:
    """A metric's value."""
    return gateway.gateway.metrics.registry.get_sample_value(name, labels) or 0.0


def refused(gateway: RunningGateway, code: str) -> float:
    """How many requests have met with this problem."""
    return figure(gateway, "penstock_gateway_problems_total", code=code)


def test_every_refusal_is_counted_and_logged_by_what_was_wrong(lone: RunningGateway) -> None:
    """Those, too, of requests that never came to a route."""
    lone.submit({"n": 1}, key="k")
    lone.submit({"n": 2}, key="k")
    lone.client.post("/v1/jobs", content=b"{", headers={"Content-Type": "application/json"})
    lone.client.get("/nowhere")
    lone.client.put("/v1/jobs")
    lone.client.get("/v1/jobs?state=asleep")
    lone.raw(b"no HTTP\r\n\r\n")
    lone.raw(b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000)
    expected = {"key-conflict": 1, "malformed": 2, "not-found": 1, "method-not-allowed": 1, "invalid": 1}
    expected |= {"head-too-large": 1}
    assert {code: refused(lone, code) for code in expected} == expected
    until(lambda: any("problem='key-conflict'" in line for line in lone.lines), what="the line in the log")


def test_too_much_to_do_is_a_problem_of_its_own(lone: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that shedding load and an outage are told apart; both begin at zero."""
    assert (refused(lone, "busy"), refused(lone, "full")) == (0, 0)
    monkeypatch.setattr(acceptance, "WAITING_JOBS_MAX", 0)
    answer = lone.submit()
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:penstock:problem:busy")
    assert answer.headers["retry-after"] == "2"
    lone.client.close()
    monkeypatch.setattr(protocol, "CONNECTIONS_MAX", 0)
    assert b"urn:penstock:problem:full" in lone.raw(b"")
    assert (refused(lone, "busy"), refused(lone, "full")) == (1, 1)


def test_open_connections_are_counted(lone: RunningGateway) -> None:
    """Until they are closed, whoever closes them."""
    with socket.create_connection(("127.0.0.1", lone.port)):
        until(lambda: figure(lone, "penstock_gateway_connections") == 1, what="the connection")
    until(lambda: figure(lone, "penstock_gateway_connections") == 0, what="its end")


def test_a_gateway_that_is_told_to_stop_is_not_ready(lone: RunningGateway) -> None:
    """Also by its metrics."""
    until(lambda: figure(lone, "penstock_gateway_ready") == 1, what="readiness")
    lone.gateway.stop_waiting()
    assert figure(lone, "penstock_gateway_ready") == 0
    assert lone.gateway.health.judge("/readyz") == (False, "the gateway stops")
    assert lone.client.get("/healthz").status_code == 200


def test_an_event_loop_that_hangs_is_no_health(lone: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """For whoever asks from outside of it: a probe must not be answered by a thread that serves nobody."""
    monkeypatch.setattr(health, "LOOP_SECONDS_MAX", 0.2)
    loop, hanging = lone.gateway.health.loop, threading.Event()
    assert loop is not None
    well = (True, "the gateway answers")
    until(lambda: lone.gateway.health.judge_from_outside("/healthz") == well, what="an answer in time")
    loop.call_soon_threadsafe(hanging.wait, 20)
    assert lone.gateway.health.judge_from_outside("/healthz") == (False, "the event loop does not answer")
    hanging.set()
    until(lambda: lone.gateway.health.judge_from_outside("/healthz")[0], what="the loop to go on")
