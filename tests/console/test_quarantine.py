"""`penstock quarantine`."""

import pytest
from tests.console.command import Command

from penstock.ledger.audit import list_audit
from penstock.ledger.database import Session
from penstock.ledger.quarantine import Unreadable, put_aside


@pytest.fixture
def number(session: Session) -> str:
    """The number of a message in quarantine."""
    put_aside(session, [Unreadable("demo", "body is not JSON in UTF-8", b'{"card": 4111\xff', "m-1", "demo.add")])
    return "1"


def test_quarantined_messages_are_listed_without_their_bodies(penstock: Command, number: str) -> None:
    """With the reason."""
    [document] = penstock("quarantine", "list", "--json").documents
    assert (document["id"], document["queue"], document["type"], document["bytes"]) == (1, "demo", "demo.add", 14)
    out = penstock("quarantine", "list").out
    assert "body is not JSON in UTF-8" in out
    assert '"card"' not in out


def test_a_body_is_hidden_until_it_is_asked_for(penstock: Command, number: str, session: Session) -> None:
    """Then the audit says who asked."""
    assert "14 bytes, hidden" in penstock("quarantine", "show", number).out
    assert list_audit(session) == []
    assert r'{"card": 4111\xff' in penstock("quarantine", "show", number, "--payload").out
    document = penstock("quarantine", "show", number, "--payload", "--json").document
    assert document["body_base64"] == "eyJjYXJkIjogNDExMf8="
    assert {(row["actor"], row["target"]) for row in list_audit(session)} == {("ann", "quarantine 1")}


def test_nothing_in_quarantine_is_said(penstock: Command, session: Session) -> None:
    """And a number that is not there is not found."""
    assert penstock("quarantine", "list").out == "nothing is in quarantine\n"
    answer = penstock("quarantine", "show", "7")
    assert answer.code == 1
    assert "has the number 7" in answer.error
