"""The wire format: what is written is read, and what breaks it is refused with the part that is wrong."""

import json
import random
import time
import uuid
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.schemas import Job, Message, UnreadableMessage
from penstock.schemas.contract import VERSION_MAX
from penstock.schemas.identifiers import job_id_time, new_job_id, parse_job_id
from penstock.schemas.message import BODY_BYTES_MAX, BODY_DEPTH_MAX, check_body, check_depth, read_message


class Ship(Job, type="orders.ship", version=3):
    n: int


# In every time zone, and in UTC.
FIRST_DAY, LAST_DAY = datetime(1, 1, 3), datetime(9999, 12, 29)  # noqa: DTZ001 - hypothesis adds the zones
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=255)


@given(
    key=st.none() | TEXTS,
    tenant=st.none() | TEXTS,
    correlation_id=st.none() | TEXTS,
    traceparent=st.none() | TEXTS,
    app_id=st.none() | TEXTS,
    due_at=st.none() | st.datetimes(FIRST_DAY, LAST_DAY, timezones=st.timezones()),
)
def test_what_is_written_is_read(due_at: datetime | None, **texts: Any) -> None:
    """Every property and header, for any text that the wire takes."""
    message = Message.of(Ship(n=1), due_at=due_at, **texts)
    assert _read(message) == message


def test_a_message_gets_an_id_of_its_own() -> None:
    """Or the one that the publisher chose, in its canonical form."""
    one, two = Message.of(Ship(n=1)), Message.of(Ship(n=1))
    assert one.id != two.id
    assert uuid.UUID(one.id).version == 7
    assert Message.of(Ship(n=1), job_id=one.id.upper()).id == one.id


def test_headers_hold_only_what_is_set() -> None:
    """And the due time in UTC."""
    assert Message.of(Ship(n=1)).headers() == {"schema-version": 3}
    due = datetime(2026, 3, 1, 13, tzinfo=timezone(timedelta(hours=1)))
    full = Message.of(Ship(n=1), key="k", due_at=due, tenant="t", traceparent="p")
    assert full.headers() == {
        "schema-version": 3,
        "dedup-key": "k",
        "due-at": "2026-03-01T12:00:00+00:00",
        "tenant": "t",
        "traceparent": "p",
    }


GOOD: dict[str, Any] = {
    "message_id": new_job_id(),
    "type": "orders.ship",
    "content_type": "application/json",
    "correlation_id": "c",
    "app_id": "shop",
    "headers": {"schema-version": 2},
    "body": b'{"n":1}',
}

UUID4 = str(uuid.UUID(int=0, version=4))
BAD_TEXTS: list[Any] = ["", "x" * 256, "a\x00", "a\x1f", "a\x1e", "a\n", "\x7f", "\ud800", 7, b"x", ["x"], True]
BAD: list[tuple[dict[str, Any], str]] = [
    ({"message_id": None}, "message_id is missing; set it to a UUIDv7"),
    ({"message_id": ""}, "message_id is not a UUID"),
    ({"message_id": "7"}, "message_id is not a UUID"),
    ({"message_id": UUID4}, "message_id is a UUIDv4; set it to a UUIDv7"),
    ({"message_id": "x" * 100_000}, "message_id is not a UUID"),
    ({"message_id": "\x00"}, "message_id is not a UUID"),
    ({"message_id": b"\xff"}, "message_id is not a UUID"),  # what AMQP libraries make of bytes that are not UTF-8
    ({"type": None}, "type is missing"),
    ({"type": ""}, "type is not a job type name"),
    ({"type": "a b"}, "type is not a job type name"),
    ({"type": "#"}, "type is not a job type name"),
    ({"type": b"\xff"}, "type is not a job type name"),
    ({"content_type": b"\xff"}, "content_type must be application/json"),
    *[({"reply_to": it}, "reply_to must begin with") for it in ("", "test", b"\xff", 7)],
    ({"content_type": "text/plain"}, "content_type must be application/json"),
    ({"content_type": ""}, "content_type must be application/json"),
    ({"body": b""}, "body is not JSON"),
    ({"body": b"\xff"}, "body is not JSON"),
    ({"body": b"\xef\xbb\xbf{}"}, "body is not JSON"),
    ({"body": b"{} {}"}, "body is not JSON"),
    ({"body": b'{"n":NaN}'}, "body is not JSON"),
    ({"body": b'{"n":Infinity}'}, "body is not JSON"),
    ({"body": b'{"n":"\\ud800"}'}, "body is not JSON"),
    ({"body": b"[1]"}, "body must be a JSON object"),
    ({"body": b"null"}, "body must be a JSON object"),
    ({"body": b'"{}"'}, "body must be a JSON object"),
    ({"body": b'{"n":"' + b"x" * BODY_BYTES_MAX + b'"}'}, "body has 1048584 bytes; at most 1048576 are allowed"),
    ({"body": b'{"n":' + b"[" * 64 + b"]" * 64 + b"}"}, "body is nested deeper than 64 levels"),
    ({"body": b"[" * 100_000}, "body is nested deeper than 64 levels"),
    *[({"headers": {"schema-version": it}}, "header schema-version must be") for it in (0, -1, "1", 1.0, True, None)],
    ({"headers": {"schema-version": VERSION_MAX + 1}}, "header schema-version must be"),
    *[({"headers": {"due-at": it}}, "header due-at must be a time") for it in ("", "soon", 7, b"x", "2026-13-01")],
    *[({"headers": {"due-at": f"{it}T00:00:00+00:00"}}, "header due-at must") for it in ("0000-01-01", "10000-01-01")],
    ({"headers": {"due-at": "0001-01-01T00:00:00+10:00"}}, "header due-at must be a time"),
    *[({"headers": {"dedup-key": it}}, "header dedup-key must") for it in BAD_TEXTS],
    *[({"headers": {"tenant": it}}, "header tenant must") for it in BAD_TEXTS],
    *[({"headers": {"traceparent": it}}, "header traceparent must") for it in BAD_TEXTS],
    *[({"correlation_id": it}, "correlation_id must") for it in BAD_TEXTS],
    *[({"app_id": it}, "app_id must") for it in BAD_TEXTS],
]


@pytest.mark.parametrize(("broken", "says"), BAD)
def test_what_breaks_the_wire_format_is_refused_with_the_part_that_is_wrong(broken: dict[str, Any], says: str) -> None:
    """The reason goes to quarantine with the message, and is short and free of its content."""
    with pytest.raises(UnreadableMessage) as caught:
        read_message(**(GOOD | broken))
    assert str(caught.value).startswith(says)
    assert says.startswith(caught.value.part)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "fine",
    [
        {"content_type": None},
        {"headers": None},
        {"headers": {}},
        {"correlation_id": None, "app_id": None},
        {"headers": {"x-death": [{"count": 1}], "schema-version": VERSION_MAX}},
        {"headers": {"tenant": "é🦀\u2028\x85", "dedup-key": "x" * 255}},
        {"headers": {"due-at": "2026-11-23T07:00:00Z"}},
        {"headers": {"due-at": "2026-11-23T07:00:00.123456+05:30"}},
        {"body": b' \t\r\n{"n": [1, {"m": "\\ud83e\\udd80 \\u0000"}]}\n'},
        {"body": b'{"n":' + b"[" * 63 + b"]" * 63 + b"}"},
        {"body": b'{"n":"' + b"[{" * 1000 + b'\\"]"}'},
    ],
)
def test_what_keeps_to_the_wire_format_is_read(fine: dict[str, Any]) -> None:
    """Any language may publish, also with less, and with headers that brokers add."""
    wire = GOOD | fine
    message = read_message(**wire)
    assert message.body == wire["body"]
    assert message.due_at is None or message.due_at.tzinfo is UTC


@pytest.mark.parametrize("character", [chr(code) for code in [*range(0x20), 0x7F]])
def test_a_control_character_in_a_body_is_only_taken_as_white_space(character: str) -> None:
    """The ledger separates values by some of them: none may come through raw inside a text."""
    for body in (f'{{"n":"{character}"}}', f'{{"n":{character}1}}', f'{{"{character}":1}}'):
        try:
            check_body(body.encode())
        except UnreadableMessage:
            continue
        assert character in " \t\r\n\x7f"


def test_a_time_without_a_zone_is_refused_by_the_client() -> None:
    """Whose noon would it be?"""
    with pytest.raises(UnreadableMessage, match="due_at has no time zone"):
        Message.of(Ship(n=1), due_at=datetime(2026, 3, 1))  # noqa: DTZ001 - the point


@pytest.mark.parametrize("header", ["2026-11-23T07:00:00", "2026-11-23", "20261123", "2026-W47-1"])
def test_a_time_without_a_zone_is_refused_on_the_wire(header: str) -> None:
    """RFC 3339 wants an offset; two workers in two zones would disagree."""
    with pytest.raises(UnreadableMessage, match="due-at"):
        read_message(**(GOOD | {"headers": {"due-at": header}}))


def test_a_time_beyond_the_calendar_is_refused_by_the_client() -> None:
    """In UTC it lies in the year 10000."""
    with pytest.raises(UnreadableMessage, match="due_at"):
        Message.of(Ship(n=1), due_at=datetime.max.replace(tzinfo=timezone(-timedelta(hours=1))))


@pytest.mark.parametrize("broken", [{"body": b"nonsense"}, {"body": b'{"n":"\x1f"}'}, {"version": 0}])
def test_a_raw_message_is_checked_like_any_other(broken: dict[str, Any]) -> None:
    """It would come back from every reader as unreadable."""
    with pytest.raises(UnreadableMessage):
        Message.raw(**({"type": "orders.ship", "body": b"{}"} | broken))


@pytest.mark.parametrize("option", ["key", "tenant", "correlation_id", "traceparent", "app_id"])
@pytest.mark.parametrize("value", BAD_TEXTS)
def test_the_client_refuses_what_no_reader_would_accept(option: str, value: Any) -> None:
    """At the publisher's door, where somebody can mend it."""
    options: dict[str, Any] = {option: value}
    with pytest.raises(UnreadableMessage):
        Message.of(Ship(n=1), **options)


@pytest.mark.parametrize("given", [{"n": 1}, None, "orders.ship", Ship])
def test_what_is_no_job_is_refused_with_what_it_is(given: Any) -> None:
    """And never with what is in it."""
    kind = "class: Ship" if given is Ship else type(given).__name__
    with pytest.raises(UnreadableMessage, match=rf"job must be an instance of a Job class, like .*, no {kind}$"):
        Message.of(given)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"due_at": "tomorrow"}, "due_at must be a datetime, no str"),
        ({"due_at": date(2030, 1, 1)}, "due_at must be a datetime, no date"),
        ({"delay": 5}, r"delay must be a timedelta, like timedelta\(minutes=5\), no int"),
        ({"delay": timedelta.max}, "delay reaches beyond the calendar"),
        ({"delay": timedelta(1), "due_at": datetime(2030, 1, 1, tzinfo=UTC)}, "give one of them, not both"),
    ],
)
def test_a_time_that_is_none_is_refused_with_what_to_give(options: dict[str, Any], complaint: str) -> None:
    """By producers, the outbox and `ctx.publish` alike, which all write their messages here."""
    with pytest.raises(UnreadableMessage, match=complaint):
        Message.of(Ship(n=1), **options)


def test_a_payload_that_no_reader_would_accept_is_refused_by_the_client() -> None:
    """Too large, too deep."""

    class Blob(Job, type="demo.blob"):
        data: Any

    nested: Any = 0
    for _ in range(BODY_DEPTH_MAX):
        nested = [nested]
    for data in ("x" * BODY_BYTES_MAX, nested):
        with pytest.raises(UnreadableMessage, match="body"):
            Message.of(Blob(data=data))


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":"' + b"[{" * 500 + b'"}',
        b'{"a":"\\\\\\"' + b"[" * 500 + b'"}',
        b"[[]]" * 500,
        b'"\\' + b"[" * 500,
        b'"' + b'\\"' * 250_000,
    ],
)
def test_brackets_in_strings_are_not_nesting(body: bytes) -> None:
    """Neither behind an escaped quote nor in a string that never ends, and nothing takes long."""
    started = time.monotonic()
    check_depth(body, levels_max=2)
    assert time.monotonic() - started < 1.0


def test_ten_thousand_random_bodies_are_read_or_refused() -> None:
    """Truncated, shuffled, spliced, random: nothing else comes out, and nothing takes long."""
    draw = random.Random(20_260_102)
    whole = json.dumps({"n": [1, -2.5e10, None, True, {"é🦀\u2028": 'a"\\b\n'}], "m": {"x": [[[]]]}}).encode()
    started = time.monotonic()
    refused = 0
    for _ in range(10_000):
        body = bytearray(draw.choice([whole, whole[: draw.randrange(len(whole))], draw.randbytes(draw.randrange(80))]))
        for _ in range(draw.randrange(4)):
            if body:
                body[draw.randrange(len(body))] = draw.choice([draw.randrange(256), *b'{}[]",:\\u0 \x00\x1f'])
        try:
            message = read_message(**(GOOD | {"body": bytes(body)}))
        except UnreadableMessage as error:
            refused += 1
            reason = str(error)
        else:
            assert isinstance(json.loads(message.body), dict)
            continue
        assert reason.startswith("body ")
    assert 5_000 < refused < 9_900
    assert time.monotonic() - started < 30


@given(
    message_id=st.none() | st.text() | st.binary(),
    type=st.none() | st.text() | st.binary(),
    content_type=st.sampled_from([None, "application/json", "x"]),
    correlation_id=st.none() | st.text() | st.binary(),
    app_id=st.none() | st.text() | st.binary(),
    reply_to=st.none() | st.text() | st.binary(),
    headers=st.none()
    | st.dictionaries(
        st.sampled_from(["dedup-key", "schema-version", "due-at", "tenant", "traceparent", "x"]),
        st.none() | st.text() | st.integers() | st.floats() | st.binary() | st.booleans() | st.lists(st.integers()),
    ),
    body=st.binary() | st.just(b"{}"),
)
def test_no_delivery_makes_another_error(**wire: Any) -> None:
    """Whatever its properties and headers hold."""
    try:
        read_message(**wire)
    except UnreadableMessage as error:
        reason = str(error)
    else:
        return
    assert reason


@given(headers=st.dictionaries(st.sampled_from(["due-at"]), st.datetimes().map(str) | st.text(max_size=20)))
def test_no_due_time_makes_another_error(headers: dict[str, str]) -> None:
    """With a good message around it."""
    try:
        read_message(**(GOOD | {"headers": headers}))
    except UnreadableMessage as error:
        assert error.part == "header due-at"  # noqa: PT017 - it may also be read


def test_an_error_never_holds_the_body() -> None:
    """It is logged."""
    for body in (b'{"card":"4111111111111111"', b'["4111111111111111"]', b"4111111111111111"):
        with pytest.raises(UnreadableMessage) as caught:
            read_message(**(GOOD | {"body": body}))
        assert "4111" not in str(caught.value)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize("form", ["{%s}", "urn:uuid:%s"])
def test_other_forms_of_an_id_are_read_in_the_canonical_one(form: str) -> None:
    """The ledger compares text."""
    job_id = new_job_id()
    for text in (job_id, job_id.upper(), job_id.replace("-", ""), form % job_id):
        assert parse_job_id(text) == job_id


def test_an_id_tells_its_time() -> None:
    """To the millisecond; ids made later are larger."""
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    ids = [new_job_id() for _ in range(1000)]
    assert ids == sorted(ids)
    assert before <= job_id_time(ids[0]) <= job_id_time(ids[-1]) <= datetime.now(UTC)


def test_an_id_from_the_far_future_tells_the_last_moment_of_the_calendar() -> None:
    """Anybody may make one up; it must not stop whoever reads it."""
    job_id = parse_job_id("ffffffff-ffff-7fff-bfff-ffffffffffff")
    assert job_id_time(job_id) == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def _read(message: Message) -> Message:
    """As a worker does."""
    return read_message(
        message_id=message.id,
        type=message.type,
        content_type="application/json",
        correlation_id=message.correlation_id,
        app_id=message.app_id,
        headers=message.headers(),
        body=message.body,
    )
