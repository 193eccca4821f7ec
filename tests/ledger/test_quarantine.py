"""What could not be read is kept as it was, and never run."""

import pytest
from sqlalchemy import select
from tests.ledger.samples import count

from penstock.ledger.database import Session
from penstock.ledger.quarantine import Unreadable, count_quarantine, list_quarantine, put_aside
from penstock.ledger.tables import jobs, quarantine
from penstock.schemas.message import BODY_BYTES_MAX

BODIES = [b"", b"\x00", bytes(range(256)), b"\x1f\x1e", b"\xff\xfe\xed\xa0\x80", b"not json", b"x" * 1_000_000]


def test_any_bytes_are_kept_as_they_were(session: Session) -> None:
    """A separator of ours, NUL, broken UTF-8, a megabyte, nothing."""
    put_aside(session, [Unreadable("demo", "is not JSON", body) for body in BODIES])
    kept = session.connection.execute(select(quarantine.c.body).order_by(quarantine.c.id)).scalars()
    assert [bytes(body) for body in kept] == BODIES
    assert count_quarantine(session) == len(BODIES)
    assert count(session, jobs) == 0


def test_of_a_body_larger_than_any_that_is_run_only_the_beginning_is_kept(session: Session) -> None:
    """Whoever can send a hundred megabytes can send them again."""
    put_aside(session, [Unreadable("demo", "is too large", b"x" * (BODY_BYTES_MAX + 1))])
    [kept] = session.connection.execute(select(quarantine.c.body)).scalars()
    assert bytes(kept) == b"x" * BODY_BYTES_MAX


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (None, None),
        ("plain", "plain"),
        ("", ""),
        ("NUL \x00", "NUL \ufffd"),
        ("lone \ud800", "lone ?"),
        ("\x1f\x1e", "\x1f\x1e"),
        ("x" * 1000, "x" * 255),
        ("🦀", "🦀"),
    ],
)
def test_names_that_a_message_claims_are_kept_as_far_as_they_can_be(
    session: Session, given: str | None, kept: str | None
) -> None:
    """The properties of a broken message are as broken as its body."""
    put_aside(session, [Unreadable("demo", "is not a UUID", b"{}", message_id=given, type=given)])
    [row] = list_quarantine(session)
    assert (row["message_id"], row["type"]) == (kept, kept)
    assert (row["queue"], row["reason"], row["bytes"]) == ("demo", "is not a UUID", 2)


def test_the_newest_come_first_and_without_their_bodies(session: Session) -> None:
    """A list is for people; a body may hold secrets."""
    put_aside(session, [Unreadable("demo", f"reason {n}", b"secret") for n in range(5)])
    listed = list_quarantine(session, limit=2)
    assert [row["reason"] for row in listed] == ["reason 4", "reason 3"]
    assert "body" not in listed[0]


def test_putting_nothing_aside_is_nothing(session: Session) -> None:
    """An empty batch."""
    put_aside(session, [])
    assert count_quarantine(session) == 0


def test_it_shares_the_fate_of_the_transaction_around_it(session: Session) -> None:
    """A delivery is put aside together with the batch it came in, or redelivered with it."""

    def fail() -> None:
        with session.transaction():
            put_aside(session, [Unreadable("demo", "is not JSON", b"")])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert count_quarantine(session) == 0
