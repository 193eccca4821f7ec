"""Messages as frames, and acks read from bytes: as pika would make and read them."""

import string
import struct

import pika
import pika.exceptions
import pika.frame
import pika.spec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.producers.client.message_frames import ACK_BYTES, Ack, content_frames, read_ack
from penstock.schemas import Message
from penstock.schemas.identifiers import new_job_id

BODY_BYTES_MAX = 100
TEXTS = st.none() | st.text(string.printable + "äß€😀", min_size=1, max_size=60)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    return Message(
        id=new_job_id(),
        type=draw(st.sampled_from(["a", "notifications.email"])),
        version=draw(st.integers(1, 1_000_000)),
        body=draw(st.binary(max_size=3 * BODY_BYTES_MAX)),
        key=draw(TEXTS),
        due_at=draw(st.none() | st.datetimes(timezones=st.timezones())),
        tenant=draw(TEXTS),
        correlation_id=draw(TEXTS),
        traceparent=draw(TEXTS),
        app_id=draw(TEXTS),
        payload_hash=draw(TEXTS),
        reply_to=draw(TEXTS),
    )


@given(messages(), st.integers(1, 65535))
def test_a_message_becomes_the_bytes_that_pika_would_make_of_it(message: Message, channel: int) -> None:
    ours = content_frames(channel, message, body_bytes_max=BODY_BYTES_MAX)

    properties = pika.BasicProperties(
        message_id=message.id,
        type=message.type,
        content_type="application/json",
        app_id=message.app_id,
        correlation_id=message.correlation_id,
        reply_to=message.reply_to,
        timestamp=sent_at(ours),
        headers=message.headers(),
        delivery_mode=2,
    )
    body = message.body
    parts = [body[at : at + BODY_BYTES_MAX] for at in range(0, len(body), BODY_BYTES_MAX)]
    theirs = pika.frame.Header(channel, len(body), properties).marshal()
    assert ours == theirs + b"".join(pika.frame.Body(channel, part).marshal() for part in parts)


def sent_at(frames: bytes) -> int:
    _, header = pika.frame.decode_frame(frames)
    assert isinstance(header, pika.frame.Header)
    assert header.properties.timestamp
    return header.properties.timestamp


@pytest.mark.parametrize("name", ["correlation_id", "reply_to", "app_id"])
def test_a_text_that_no_property_can_hold_is_refused_as_pika_does(name: str) -> None:
    message = Message(id=new_job_id(), type="a", version=1, body=b"{}")
    setattr(message, name, "€" * 86)

    with pytest.raises(pika.exceptions.ShortStringTooLong):
        content_frames(1, message, body_bytes_max=BODY_BYTES_MAX)


@given(st.integers(1, 65535), st.integers(0, 2**64 - 1), st.booleans(), st.binary(max_size=30), st.binary(max_size=30))
def test_an_ack_is_read_wherever_it_begins(channel: int, tag: int, multiple: bool, before: bytes, after: bytes) -> None:
    frame = pika.frame.Method(channel, pika.spec.Basic.Ack(tag, multiple)).marshal()

    assert len(frame) == ACK_BYTES
    assert read_ack(before + frame + after, len(before)) == Ack(tag, multiple)
    assert read_ack(before + frame[:-1], len(before)) is None


@pytest.mark.parametrize(
    "frame",
    [
        pika.frame.Method(1, pika.spec.Basic.Nack(7)).marshal() + bytes(20),
        pika.frame.Method(1, pika.spec.Basic.Return(312, "NO_ROUTE", "penstock.jobs", "a")).marshal(),
        pika.frame.Heartbeat().marshal() + bytes(20),
        pika.frame.Method(1, pika.spec.Basic.Ack(7)).marshal()[:-1] + b"?",
        struct.pack(">BHI", 1, 1, 99) + bytes(20),
    ],
    ids=["nack", "return", "heartbeat", "broken end", "other size"],
)
def test_what_is_no_ack_is_left_to_pika(frame: bytes) -> None:
    assert read_ack(frame, 0) is None
