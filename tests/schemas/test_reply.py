"""What comes to a reply queue, read by a publisher in Python."""

import json

import pytest

from penstock.schemas import ReceiptReply, ResultReply, UnreadableMessage, read_reply

RECEIPT = {
    "job_id": "01a20816-54c3-7791-a119-8b04ac81d790",
    "asked_id": "01a20816-54c3-7791-a119-8b04ac81d791",
    "duplicate": True,
    "type": "demo.add_row",
    "durability": "ledger",
    "state": "executing",
    "reason": None,
    "attempts": 0,
}
RESULT = RECEIPT | {"state": "completed", "finished_at": "2026-11-24T07:00:01Z", "result": {"rows": 1}}


def test_each_kind_of_reply_is_read_as_what_it_is() -> None:
    """A field that a later release adds breaks nobody."""
    receipt = read_reply("penstock.receipt", json.dumps(RECEIPT | {"later": 1}).encode())
    assert (type(receipt), receipt.state, receipt.duplicate) == (ReceiptReply, "executing", True)
    result = read_reply("penstock.result", json.dumps(RESULT).encode())
    assert isinstance(result, ResultReply)
    assert (result.state, result.result) == ("completed", {"rows": 1})
    assert result.finished_at is not None


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        ("demo.add_row", b"{}", "type is no reply; those are penstock.receipt and penstock.result"),
        (None, b"{}", "type is no reply"),
        ("penstock.result", json.dumps(RECEIPT).encode(), "body is no penstock.result: finished_at, result"),
        ("penstock.receipt", b"{", "body is no penstock.receipt: json_invalid"),
    ],
)
def test_what_is_no_reply_is_refused_by_its_fields(kind: str | None, body: bytes, said: str) -> None:
    """Anybody may write into a queue."""
    with pytest.raises(UnreadableMessage, match=said):
        read_reply(kind, body)
