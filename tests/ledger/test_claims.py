"""Claims straight from the ledger: what is due, in order, of the right queues, each once."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.ledger.samples import OTHER_TOKEN, PROCESS, TOKEN, accepted, claimed, put, row_of

from penstock.ledger.admission import Claim
from penstock.ledger.claims import claim_due, has_suspects, next_due_seconds
from penstock.ledger.database import Session


def test_the_longest_due_come_first(session: Session) -> None:
    """Of all the queues that were asked for, up to the limit."""
    ids = [put(session, queue=queue, due_at=_ago(minutes)) for queue, minutes in [("a", 1), ("b", 9), ("a", 5)]]
    put(session, queue="c", due_at=_ago(60))
    assert [claim.id for claim in _claim(session, "a", "b", limit=2)] == [ids[1], ids[2]]
    assert [claim.id for claim in _claim(session, "a", "b", limit=2)] == [ids[0]]
    assert _claim(session, "a", "b") == []


def test_a_claim_carries_the_whole_job(session: Session) -> None:
    """As a delivery's claim does."""
    accepted(session, body=b'{"n": 2}', key="k", tenant="acme", correlation_id="c", traceparent="t", version=4)
    [claim] = _claim(session, "demo")
    assert (claim.payload, claim.key, claim.tenant, claim.correlation_id, claim.traceparent, claim.version) == (
        b'{"n": 2}',
        "k",
        "acme",
        "c",
        "t",
        4,
    )
    row = row_of(session, claim.id)
    assert (row.state, row.token, row.process_id, row.dispatch_number) == ("executing", TOKEN, PROCESS, 1)
    assert row.started_at is not None
    assert claim.due_at == row.due_at


@pytest.mark.parametrize(
    "unfit",
    [
        {"due_at": datetime.now(UTC) + timedelta(days=1)},
        {"dispatched_at": datetime.now(UTC)},
        {"suspect": True},
        {"state": "executing"},
        {"state": "completed"},
        {"state": "dead"},
        {"state": "cancelled"},
    ],
)
def test_what_is_not_due_or_belongs_elsewhere_is_not_claimed(session: Session, unfit: dict[str, Any]) -> None:
    """What is on its way through a broker comes back from there."""
    put(session, **unfit)
    assert _claim(session, "demo") == []


def test_the_suspect_lane_claims_suspects_only(session: Session) -> None:
    """And only those that are due."""
    suspect, _ = put(session, suspect=True), put(session)
    put(session, suspect=True, due_at=datetime.now(UTC) + timedelta(hours=1))
    assert has_suspects(session, ["demo", "other"])
    assert not has_suspects(session, ["other"])
    lane = claim_due(session, queues=["demo"], limit=9, token=TOKEN, process_id=PROCESS, suspects=True)
    assert [claim.id for claim in lane] == [suspect]
    assert not has_suspects(session, ["demo"])


def test_each_job_is_claimed_once(session: Session) -> None:
    """By whoever comes first."""
    for _ in range(5):
        accepted(session)
    first = _claim(session, "demo", limit=3)
    second = _claim(session, "demo", limit=3, token=OTHER_TOKEN)
    assert (len(first), len(second)) == (3, 2)
    assert {claim.id for claim in first}.isdisjoint(claim.id for claim in second)


def test_the_next_due_time_is_told_in_seconds(session: Session) -> None:
    """So that an idle worker knows how long to wait. Negative: one is due already."""
    assert next_due_seconds(session, ["demo"]) is None
    put(session, due_at=datetime.now(UTC) + timedelta(hours=2))
    put(session, queue="other", due_at=datetime.now(UTC) + timedelta(hours=1))
    claimed(session)
    assert _about(next_due_seconds(session, ["demo"]), 7200)
    assert _about(next_due_seconds(session, ["demo", "other"]), 3600)
    put(session, due_at=_ago(10))
    assert _about(next_due_seconds(session, ["demo", "other"]), -600)


def _about(actual: float | None, expected: float) -> bool:
    return actual is not None and abs(actual - expected) < 300


def _ago(minutes: int) -> datetime:
    return datetime.now(UTC) - timedelta(minutes=minutes)


def _claim(session: Session, *queues: str, limit: int = 9, token: int = TOKEN) -> list[Claim]:
    return claim_due(session, queues=list(queues), limit=limit, token=token, process_id=PROCESS)
