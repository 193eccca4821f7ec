"""Deliveries read from bytes in one go: the same as pika reads, however the bytes arrive."""

import random
from typing import Any

import pika
import pika.frame
import pika.spec
import pytest
from pika.channel import ContentFrameAssembler

from penstock.workers.delivery_frames import BODY_BYTES_MAX, Delivered, Not, read_delivery

FRAME_MAX = 100  # bytes of a body in one frame, where a test wants several


def a_delivery(body: bytes, *, tag: int = 7, channel: int = 1, frame_bytes: int = 131_064, **properties: Any) -> bytes:
    """A delivery as a broker writes it."""
    method = pika.spec.Basic.Deliver("ctag1.ä", tag, False, "penstock.jobs", "demo.add")
    frames: list[Any] = [
        pika.frame.Method(channel, method),
        pika.frame.Header(channel, len(body), pika.BasicProperties(**properties)),
    ]
    frames += [pika.frame.Body(channel, body[at : at + frame_bytes]) for at in range(0, len(body), frame_bytes)]
    return b"".join(frame.marshal() for frame in frames)


def as_pika_reads(data: bytes) -> tuple[str, int, dict[str, Any], bytes]:
    """Consumer tag, delivery tag, properties and body of a delivery."""
    assembler: Any = ContentFrameAssembler()
    while True:
        consumed, frame = pika.frame.decode_frame(data)
        data = data[consumed:]
        if whole := assembler.process(frame):
            method, header, body = whole
            return method.method.consumer_tag, method.method.delivery_tag, vars(header.properties), body


PROPERTIES: list[dict[str, Any]] = [
    {},
    {"message_id": "m", "type": "demo.add", "headers": {"schema-version": 2, "dedup-key": "ü", "x": [1, {"y": None}]}},
    {
        "content_type": "application/json",
        "content_encoding": "gzip",
        "delivery_mode": 2,
        "priority": 3,
        "correlation_id": "c",
        "reply_to": "amq.gen-1",
        "expiration": "5",
        "timestamp": 1_700_000_000,
        "user_id": "guest",
        "app_id": "shop",
        "cluster_id": "one",
    },
]


@pytest.mark.parametrize("properties", PROPERTIES)
@pytest.mark.parametrize("body", [b"", b"{}", b"\xce" * 300, b"x" * BODY_BYTES_MAX])
def test_a_delivery_reads_as_pika_reads_it(body: bytes, properties: dict[str, Any]) -> None:
    """All properties, also those that we never write."""
    data = a_delivery(body, **properties)
    found = read_delivery(b"before" + data + b"after", 6)
    assert isinstance(found, Delivered)
    assert (found.consumer_tag, found.delivery_tag, vars(found.properties), found.body) == as_pika_reads(data)
    assert (found.channel, found.end) == (1, 6 + len(data))


@pytest.mark.parametrize("body", [b"", b"x" * 50])
def test_a_delivery_of_which_a_part_is_missing_is_waited_for_or_left(body: bytes) -> None:
    """Never read before its last byte is there, and never kept back once it is."""
    data = a_delivery(body, type="demo.add")
    cut = [read_delivery(data[:length], 0) for length in range(len(data))]
    assert Not.WHOLE in cut
    assert not [found for found in cut if isinstance(found, Delivered)]
    assert isinstance(read_delivery(data, 0), Delivered)


def test_what_is_not_one_whole_delivery_is_left_to_pika() -> None:
    """Other methods, heartbeats, several body frames, large bodies, broken end marks, another channel between."""
    data = a_delivery(b"x" * 150)
    assert isinstance(read_delivery(data, 0), Delivered)
    between = a_delivery(b"x")[: len(a_delivery(b""))]
    others = {
        "an ack": pika.frame.Method(1, pika.spec.Basic.Ack(3)).marshal() + data,
        "a heartbeat": pika.frame.Heartbeat().marshal() + data,
        "two frames": a_delivery(b"x" * 150, frame_bytes=FRAME_MAX),
        "large": a_delivery(b"x" * (BODY_BYTES_MAX + 1)),
        "the end of the method": data.replace(b"\xce", b"\xcf", 1),
        "the end of the body": data[:-1] + b"\xcf",
        "a heartbeat inside": between.partition(b"\xce")[0] + b"\xce" + pika.frame.Heartbeat().marshal() + b" " * 99,
        "another channel's header": data[: data.index(b"\xce") + 1] + a_delivery(b"x", channel=2)[-60:] + b" " * 99,
    }
    assert {name: read_delivery(it, 0) for name, it in others.items()} == dict.fromkeys(others, Not.OURS)


def test_noise_is_never_a_delivery() -> None:
    """Bytes that somebody has damaged: left to pika, or waited for, but no error of our own."""
    chance = random.Random(1)
    data = a_delivery(b'{"n": 1}', type="demo.add", headers={"dedup-key": "k"})
    for _ in range(3_000):
        damaged = bytearray(data)
        damaged[chance.randrange(8)] = chance.randrange(256)  # the frame's head and the method's number
        found = read_delivery(bytes(damaged), 0)
        assert bytes(damaged) == data or isinstance(found, Not) or found.channel != 1
