"""What hostile clients send: each is refused or bounded, and the next request is served."""

import json
import socket
import time
import tracemalloc
from collections.abc import Iterator
from functools import partial

import pytest
from tests.producers.gateway.running import RunningGateway
from tests.waiting import until

from penstock.producers.gateway import frame, protocol, reading, server
from penstock.producers.gateway.problems import Problem
from penstock.producers.gateway.submission import read_order, split_batch

JSON = {"Content-Type": "application/json"}


@pytest.fixture(autouse=True)
def still_serves(door: RunningGateway) -> Iterator[None]:
    """After each attack the gateway is well."""
    yield
    assert door.client.get("/healthz").status_code == 200
    assert door.client.get("/v1/jobs").json()["jobs"] == []
    assert door.gateway.buffers._bytes == 0


DEEP = 100_000
BODIES = {
    "empty": b"",
    "no JSON": b"\x00\xff\xfe",
    "UTF-16": '{"type":"a"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"type":"demo.add_row","payload":{"n":1}}',
    "cut off": b'{"type":"demo.add_row","payl',
    "two documents": b"{}{}",
    "deep arrays": b"[" * DEEP + b"]" * DEEP,
    "a deep payload": b'{"type":"demo.add_row","payload":{"n":' + b"[" * DEEP + b"]" * DEEP + b"}}",
    "deep and unbalanced": b'{"a":' * DEEP,
    "one name twice": b'{"type":"demo.add_row","type":"mails.once","payload":{"n":1}}',
    "one name twice, escaped": b'{"type":"demo.add_row","version":1,"payload":{"n":1,"\\u006e":2}}',
    "not a number": b'{"type":"demo.add_row","version":1,"payload":{"n":NaN}}',
    "infinity": b'{"type":"demo.add_row","version":1,"payload":{"n":1e999}}',
    "a number of 5000 digits": b'{"type":"demo.add_row","version":1,"payload":{"n":' + b"9" * 5000 + b"}}",
    "half a character": b'{"type":"demo.add_row","version":1,"payload":{"n":1,"note":"\\ud800"}}',
    "half a character in a key": b'{"type":"demo.add_row","version":1,"key":"\\udfff","payload":{"n":1}}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs:batch"])
def test_what_is_no_plain_json_is_refused(door: RunningGateway, path: str, body: bytes) -> None:
    """Soon, as a problem, and without quoting it."""
    started = time.monotonic()
    answer = door.client.post(path, content=body, headers=JSON)
    assert answer.status_code == 400 or (answer.status_code, path) == (422, "/v1/jobs:batch")
    assert answer.headers["content-type"] == "application/problem+json"
    assert time.monotonic() - started < 5
    assert len(answer.content) < 1000


def test_a_name_twice_in_one_job_of_a_batch_is_refused(door: RunningGateway) -> None:
    """Nobody can say which of the two was meant."""
    answer = door.client.post("/v1/jobs:batch", content=b'{"jobs":[],"jobs":[{}]}', headers=JSON)
    assert answer.status_code == 400
    assert "stands twice" in answer.json()["detail"]


def test_a_batch_of_a_million_objects_does_not_fill_the_memory() -> None:
    """As Python's own objects it would take fifty times its bytes."""
    payload = b"[" + b",".join([b'{"b":1}'] * 900_000) + b"]"
    body = b'{"jobs":[{"type":"demo.add_row","payload":{"n":%b}}]}' % payload
    tracemalloc.start()
    try:
        [job] = split_batch(body)
        with pytest.raises(Problem) as refused:
            read_order(job)
        assert tracemalloc.get_traced_memory()[1] < 8 * len(body)
    finally:
        tracemalloc.stop()
    assert refused.value.status == 413


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs:batch"])
def test_a_body_of_64_megabytes_is_refused(door: RunningGateway, path: str) -> None:
    """By its length, or as it comes in chunks."""
    huge = b'{"type":"' + b"x" * (64 * 1024 * 1024)

    def chunks() -> object:
        for start in range(0, len(huge), 1024 * 1024):
            yield huge[start : start + 1024 * 1024]

    for content in (huge, chunks()):
        answer = door.client.post(path, content=content, headers=JSON)  # type: ignore[arg-type]
        assert (answer.status_code, answer.json()["title"]) == (413, "The body is too large")


def test_a_body_that_waits_to_be_asked_for_is_not_asked_for(door: RunningGateway) -> None:
    """The answer comes before the body does."""
    head = b"POST /v1/jobs HTTP/1.1\r\nHost: [::1]\r\nContent-Type: application/json\r\n"
    answer = door.raw(head + b"Content-Length: 99000000\r\nExpect: 100-continue\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413")


def test_a_payload_over_a_megabyte_is_refused(door: RunningGateway) -> None:
    """Though the body as a whole would pass."""
    body = {"type": "demo.add_row", "version": 1, "payload": {"n": 1, "note": "x" * (1024 * 1024)}}
    answer = door.client.post("/v1/jobs", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "payload")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
def test_compressed_bodies_are_not_unpacked(door: RunningGateway, encoding: str) -> None:
    """So there is no bomb."""
    answer = door.client.post("/v1/jobs", content=b"\x1f\x8b", headers=JSON | {"Content-Encoding": encoding})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (415, "Content-Encoding")


@pytest.mark.parametrize("media_type", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_what_a_browser_may_send_across_sites_is_not_read(door: RunningGateway, media_type: str) -> None:
    """Anything else would need a preflight, which nobody answers."""
    answer = door.client.post("/v1/jobs", content=b"{}", headers={"Content-Type": media_type})
    assert answer.status_code == 415


HEADS = {
    "a huge header": b"GET /v1/types HTTP/1.1\r\nHost: [::1]\r\nX: " + b"a" * 300_000,
    "many headers": b"GET /v1/types HTTP/1.1\r\nHost: [::1]\r\n" + b"X-A: b\r\n" * 20_000 + b"\r\n",
    "a huge path": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: [::1]\r\n\r\n",
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_a_head_is_bounded(door: RunningGateway, head: bytes) -> None:
    """In all its parts."""
    try:
        assert door.raw(head).startswith(b"HTTP/1.1 431 ")
    except (ConnectionResetError, BrokenPipeError):
        pass  # it was closed while we were still sending


GARBAGE = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a space in a header": b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
    "a length that is none": b"POST /v1/jobs HTTP/1.1\r\nHost: [::1]\r\nContent-Length: abc\r\n\r\n",
    "two lengths": b"POST /v1/jobs HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "length and chunks": b"POST / HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0",
    "a chunk size that is none": b"POST /v1/jobs HTTP/1.1\r\nHost: [::1]\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "chunked twice": b"POST /v1/jobs HTTP/1.1\r\nHost: [::1]\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "bytes in the path": b"GET /\xff\xfe HTTP/1.1\r\nHost: [::1]\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: example.org\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nHost: [::1]\r\nA: b\r\n c: d\r\n\r\n",
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
def test_what_is_no_http_is_refused_and_the_connection_closed(door: RunningGateway, data: bytes) -> None:
    """No second request can hide behind a first one that two servers read differently."""
    answer = door.raw(data)
    assert answer.split(b" ")[1][:1] == b"4"
    assert answer.count(b"\r\n\r\n") == 1
    assert b"connection: close" in answer.lower()


def test_a_body_longer_than_it_says_begins_no_job(door: RunningGateway) -> None:
    """What is too much would be another request, and is none."""
    body = b'{"type":"demo.none","payload":{}}'
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: [::1]\r\nContent-Length: {len(body)}\r\n"
    answer = door.raw(head.encode() + b"Content-Type: application/json\r\n\r\n" + body + b"surplus\r\n\r\n")
    assert answer.startswith((b"HTTP/1.1 422 ", b"HTTP/1.1 400 "))


def test_a_head_that_drips_in_is_cut_off(door: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slowloris: neither a first head nor a later one, nor line ends before it, may take long."""
    monkeypatch.setattr(protocol, "HEAD_SECONDS_MAX", 0.5)
    whole = b"GET /healthz HTTP/1.1\r\nHost: [::1]\r\n\r\n"
    for beginning, drip in ((b"GET / HTTP/1.1\r\n", b"X: y\r\n"), (whole, b"\r\n"), (whole + b"GET / HT", b"T")):
        with socket.create_connection(("127.0.0.1", door.port), timeout=10) as connection:
            connection.sendall(beginning)
            assert until(partial(_is_cut, connection, drip), timeout_seconds=5)


def _is_cut(connection: socket.socket, drip: bytes) -> bool:
    """Send a little more; whether the other side has hung up."""
    try:
        connection.sendall(drip)
        connection.settimeout(0.05)
        return connection.recv(65536) == b""
    except TimeoutError:
        return False
    except (ConnectionResetError, BrokenPipeError):
        return True


def test_a_body_that_drips_in_is_cut_off(door: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an answer that says why."""
    monkeypatch.setattr(reading, "BODY_SECONDS_MAX", 0.3)
    head = b"POST /v1/jobs HTTP/1.1\r\nHost: [::1]\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    assert door.raw(head).startswith(b"HTTP/1.1 408 ")


def test_connections_are_bounded(door: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """One too many is told so and closed."""
    open_now = len(door.server.server_state.connections)
    monkeypatch.setattr(protocol, "CONNECTIONS_MAX", open_now + 2)
    with socket.create_connection(("127.0.0.1", door.port)), socket.create_connection(("127.0.0.1", door.port)):
        until(lambda: len(door.server.server_state.connections) == open_now + 2, what="two connections")
        assert door.raw(b"").startswith(b"HTTP/1.1 503 ")
    until(lambda: len(door.server.server_state.connections) == open_now, what="their end")


def test_buffered_bytes_are_bounded_for_all_together(door: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who finds no room is asked to come again."""
    monkeypatch.setattr(door.gateway.buffers, "_bytes_max", 10)
    answer = door.client.post("/v1/jobs", json={"type": "demo.add_row", "payload": {"n": 1}})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")


def test_pipelined_requests_are_answered_in_their_order(door: RunningGateway) -> None:
    """Each once."""
    one, other = (
        b"GET /v1/types/mails.once HTTP/1.1\r\nHost: [::1]\r\n",
        b"GET /v1/types HTTP/1.1\r\nHost: [::1]\r\n",
    )
    answer = door.raw((one + b"\r\n") * 20 + other + b"Connection: close\r\n\r\n")
    bodies = [it.split(b"\r\n\r\n", 1)[1] for it in answer.split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert len(bodies) == 21
    assert all("type" in json.loads(body) for body in bodies[:20])
    assert "types" in json.loads(bodies[20])


@pytest.mark.parametrize(
    "path",
    ["/v1/jobs/", "/v1//jobs", "/v1/./jobs", "/v1/jobs/../types", "/v1/jobs%2F", "/V1/jobs", "//v1/jobs", "/v1/jobs;a"],
)
def test_a_path_is_what_it_is(door: RunningGateway, path: str) -> None:
    """Nothing is made of another one, and nobody is sent elsewhere."""
    answer = door.raw(f"GET {path} HTTP/1.1\r\nHost: [::1]\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404 ")


def sent_until_stalled(connection: socket.socket, data: bytes, *, bytes_max: int) -> int:
    """Send again and again, until nobody takes it any more; returns how many bytes were taken."""
    connection.settimeout(0.5)
    sent = 0
    try:
        while sent < bytes_max:
            sent += connection.send(data)
    except (TimeoutError, ConnectionResetError, BrokenPipeError):
        pass
    return sent


# More than the kernel's own buffers hold on both sides.
MUCH = 64 * 1024 * 1024


@pytest.mark.parametrize("behind", [b"a" * 65536, b"X: y\r\n" * 10_000], ids=["one header", "many headers"])
def test_what_comes_behind_an_open_stream_is_not_gathered(lone: RunningGateway, behind: bytes) -> None:
    """A second head that never ends: it waits in the network until the first request is answered."""
    job_id = lone.submit().json()["id"]
    with socket.create_connection(("127.0.0.1", lone.port), timeout=5) as connection:
        connection.sendall(f"GET /v1/jobs/{job_id}/events HTTP/1.1\r\nHost: [::1]\r\n\r\n".encode())
        received = b""
        while b"event: state" not in received:
            received += connection.recv(65536)
        connection.sendall(b"GET / HTTP/1.1\r\nX: ")
        assert sent_until_stalled(connection, behind, bytes_max=MUCH) < MUCH


@pytest.mark.parametrize(
    "endless", [b"2\r\n{}\r\n0\r\n" + b"X: y\r\n" * 10_000, b"2;x=" + b"a" * 65536], ids=["trailers", "extension"]
)
def test_what_stands_beside_a_body_is_bounded(door: RunningGateway, endless: bytes) -> None:
    """It is in no buffer that is counted otherwise."""
    head = (
        b"POST /v1/jobs HTTP/1.1\r\nHost: [::1]\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", door.port), timeout=5) as connection:
        connection.sendall(head)
        more = endless.rpartition(b"\n")[2] or b"X: y\r\n" * 10_000
        connection.sendall(endless)
        assert sent_until_stalled(connection, more, bytes_max=MUCH) < MUCH


def test_small_chunks_are_no_attack(lone: RunningGateway) -> None:
    """A sender who puts each byte into a chunk of its own is only slow."""
    body = json.dumps({"type": "demo.add_row", "version": 1, "payload": {"n": 1, "note": "x" * 60_000}}).encode()
    head = b"POST /v1/jobs HTTP/1.1\r\nHost: [::1]\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
    chunks = b"".join(b"1\r\n%b\r\n" % body[n : n + 1] for n in range(len(body))) + b"0\r\n\r\n"
    assert lone.raw(head + b"Connection: close\r\n\r\n" + chunks).startswith(b"HTTP/1.1 202 ")


def test_who_asks_for_too_much_ahead_gets_what_was_taken_and_no_more(door: RunningGateway) -> None:
    """The answers come in their order, and the connection is closed; a refusal would be taken for one of them."""
    answer = door.raw(b"GET /v1/types HTTP/1.1\r\nHost: [::1]\r\n\r\n" * 1000)
    statuses = [it[:3] for it in answer.split(b"HTTP/1.1 ")[1:]]
    assert 2 <= len(statuses) <= protocol.PIPELINED_MAX + 1
    assert set(statuses) == {b"200"}


def test_a_job_is_answered_whatever_comes_behind_it(lone: RunningGateway) -> None:
    """It was accepted: to say that the request cannot be read would bring it a second time."""
    body = b'{"type":"demo.add_row","version":1,"payload":{"n":1}}'
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: [::1]\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    answer = lone.raw(head.encode() + b"\r\n" + body + b"\x00 no HTTP \r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 202 ")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_two_content_types_are_none(door: RunningGateway) -> None:
    """The second one may be the true one."""
    head = b"POST /v1/jobs HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 2\r\nConnection: close\r\n"
    types = b"Content-Type: application/json\r\nContent-Type: text/plain\r\n"
    assert door.raw(head + types + b"\r\n{}").startswith(b"HTTP/1.1 415 ")


@pytest.mark.parametrize("size", [100, 60_000, 2_000_000])
def test_an_early_refusal_is_heard_by_who_still_sends(door: RunningGateway, size: int) -> None:
    """One answer, and the connection is as good as before."""
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: [::1]\r\nContent-Type: text/plain\r\nContent-Length: {size}\r\n\r\n"
    one = head.encode() + b"x" * size
    answer = door.raw(one + one + b"GET /v1/types HTTP/1.1\r\nHost: [::1]\r\nConnection: close\r\n\r\n")
    assert [it[:3] for it in answer.split(b"HTTP/1.1 ")[1:]] == [b"415", b"415", b"200"]


def test_a_body_that_nobody_wants_may_not_drip_for_ever(door: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the connection is closed behind the answer."""
    monkeypatch.setattr(frame, "DROP_SECONDS_MAX", 0.3)
    head = b"GET /v1/types HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 100\r\n\r\nx"
    answer = door.raw(head)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in answer.lower()


def test_no_other_protocol_takes_a_body_away(door: RunningGateway) -> None:
    """The parser would read what follows `Upgrade` as the other protocol's; without a body it means nothing here."""
    upgrade = b"Host: [::1]\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
    refused = door.raw(b"POST /v1/jobs HTTP/1.1\r\nContent-Length: 2\r\n" + upgrade + b"\r\n{}")
    assert refused.startswith(b"HTTP/1.1 400 ")
    assert b"without the header Upgrade" in refused


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux has a limit for what nobody reads")
def test_who_does_not_read_his_answers_is_cut_off(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """He would hold a connection, and the answers in memory, for ever."""
    monkeypatch.setattr(server, "UNREAD_SECONDS_MAX", 0.5)
    with RunningGateway(sqlite_url) as gateway, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", gateway.port))
        connection.sendall(b"GET /v1/openapi.json HTTP/1.1\r\nHost: [::1]\r\n\r\n" * 30)
        connections = gateway.server.server_state.connections
        until(lambda: len(connections) == 1, what="the connection")
        until(lambda: not connections, what="its end")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/v1/jobs?stat=dead", "known are cursor, limit, queue, state, type"),
        ("/v1/types?a=b", "leave it out"),
        ("/v1/jobs?state=dead&state=available", "stands more than once"),
    ],
)
def test_a_parameter_that_is_misspelled_is_not_as_good_as_none(door: RunningGateway, path: str, said: str) -> None:
    """Who asked for the dead ones would get all."""
    answer = door.client.get(path)
    assert (answer.status_code, said in answer.json()["detail"]) == (422, True)
