"""Why a job waits, in plain words."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from penstock.ledger.waiting import why

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def a_job(**columns: Any) -> dict[str, Any]:
    """A job that is due for half a minute."""
    plain = {
        "state": "available",
        "reason": None,
        "version": 2,
        "queue": "demo",
        "attempts": 2,
        "due_at": NOW - timedelta(seconds=30),
        "suspect": False,
        "dispatched_at": None,
        "cancel_requested_at": None,
    }
    return plain | columns


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"state": "scheduled", "due_at": NOW + timedelta(hours=2)}, "it was asked to run later: due in 2 h"),
        (
            {"state": "retryable", "due_at": NOW + timedelta(minutes=3)},
            "attempt 2 failed; the next is due in 3 min",
        ),
        ({"reason": "unknown_type"}, "does not know its type"),
        ({"reason": "unknown_version"}, "does not know version 2 of its type"),
        ({"state": "dead", "reason": "unknown_type"}, "no worker that got it knew its type: start one that does, then"),
        ({"reason": "unknown_key"}, "does not know the key of a sealed field (PENSTOCK_KEYRING): start one that does"),
        ({"suspect": True}, "waits for the suspect lane"),
        ({}, "due for 30 s: it waits for the dispatcher. Is `penstock dispatch`"),
        ({"due_at": NOW}, "due for 0 s: it waits for the dispatcher."),
        ({"dispatched_at": NOW - timedelta(seconds=5)}, "it lies in the queue demo for 5 s"),
        ({"state": "executing"}, ""),
        ({"state": "executing", "cancel_requested_at": NOW - timedelta(seconds=5)}, "it was asked to cancel 5 s ago"),
        ({"state": "dead", "reason": "attempts"}, "`penstock dead replay`"),
        ({"state": "dead", "reason": "key_conflict"}, "belongs to another job with another payload"),
        ({"state": "completed"}, ""),
    ],
)
def test_each_situation_has_its_sentence(columns: dict[str, Any], said: str) -> None:
    """With what would help, where something would."""
    told = why(a_job(**columns), now=NOW, workers=1, broker=True)
    assert said in told
    assert bool(said) == bool(told)


def test_without_workers_nothing_else_matters() -> None:
    """A due job waits for somebody to start one."""
    assert "start `penstock worker`" in why(a_job(), now=NOW, workers=0, broker=True)


def test_without_a_broker_it_waits_for_a_thread() -> None:
    """Nothing dispatches then."""
    assert "waits for a free thread" in why(a_job(), now=NOW, workers=1, broker=False)
