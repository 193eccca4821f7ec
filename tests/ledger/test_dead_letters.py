"""Dead letters: found, replayed once each at a pace, discarded, and all of it written down."""

import itertools
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import insert, update
from tests.ledger.samples import TOKEN, a_row, an_offer, claimed, deliver, put, row_of, state_of

from penstock.ledger import dead_letters
from penstock.ledger.audit import list_audit, record
from penstock.ledger.database import Session
from penstock.ledger.dead_letters import Selection, discard_dead, group_dead, list_dead, replay_dead
from penstock.ledger.dispatches import select_due
from penstock.ledger.settlement import Failure, Outcome, settle
from penstock.ledger.state import Reason, State
from penstock.ledger.tables import jobs

ALL = Selection()


def test_dead_letters_are_found_by_id_type_fingerprint_and_reason(session: Session) -> None:
    """Alone and together, the newest first, however many others there are."""
    crashed = [_dead(session, type="demo.a", reason="crash", fingerprint="f1") for _ in range(2)]
    failed = [_dead(session, type="demo.b", reason="attempts", fingerprint="f2") for _ in range(3)]
    put(session, state="completed", type="demo.a")

    def found(limit: int = 100, **selection: Any) -> list[str]:
        return [job["id"] for job in list_dead(session, selection=Selection(**selection), limit=limit)]

    assert found() == [*reversed(failed), *reversed(crashed)]
    assert found(type="demo.a") == found(reason="crash") == found(fingerprint="f1") == crashed[::-1]
    assert found(ids=(crashed[0], failed[0])) == [failed[0], crashed[0]]
    assert found(ids=(crashed[0], failed[0]), type="demo.b") == [failed[0]]
    assert found(ids=()) == []
    assert found(limit=2) == [failed[2], failed[1]]
    # The oldest of them lie beyond the newest `limit` dead letters.
    assert found(limit=2, reason="crash") == crashed[::-1]
    assert found(limit=1, ids=(crashed[0],)) == [crashed[0]]


def test_dead_letters_are_grouped_the_largest_group_first(session: Session) -> None:
    """By what an operator decides on: type, reason, fingerprint."""
    for _ in range(3):
        _dead(session, type="demo.a", reason="attempts", fingerprint="f1", error="ValueError: no")
    _dead(session, type="demo.a", reason="attempts", fingerprint="f2")
    _dead(session, type="demo.b", reason="permanent", fingerprint=None)
    groups = group_dead(session)
    assert [(it["type"], it["reason"], it["fingerprint"], it["jobs"]) for it in groups[:1]] == [
        ("demo.a", "attempts", "f1", 3)
    ]
    assert groups[0]["error"] == "ValueError: no"
    assert groups[0]["latest"].tzinfo is not None
    assert sum(it["jobs"] for it in groups) == 5


def test_a_replayed_job_starts_afresh(session: Session) -> None:
    """Its counts, its blame and its wishes are gone; its history, its bytes and its key are not."""
    claim = claimed(session, body=b'{"n": 7}', key="k", at_most_once=True)
    settle(session, [Outcome(claim.id, TOKEN, State.DEAD, Reason.ATTEMPTS, failure=Failure("failed", "E", "m"))])
    session.connection.execute(
        update(jobs).values(crashes=1, losses=1, troubles=9, suspect=True, cancel_requested_at=datetime.now(UTC))
    )

    assert replay_dead(session, selection=ALL, actor="ada") == [claim.id]

    row = row_of(session, claim.id)
    assert (row.state, row.reason, row.token, row.finished_at) == ("available", None, None, None)
    assert (row.attempts, row.crashes, row.losses, row.troubles) == (0, 0, 0, 0)
    assert (row.suspect, row.cancel_requested_at, row.at_most_once) == (False, None, True)
    [again] = deliver(session, an_offer(id=claim.id, key="k")).claims
    assert (again.payload, again.attempts) == (b'{"n": 7}', 0)


def test_a_second_replay_finds_nothing(session: Session) -> None:
    """It is no longer dead: a second click does no harm, and is no entry in the audit."""
    job_id = _dead(session)
    assert replay_dead(session, selection=Selection(ids=(job_id,)), actor="ada") == [job_id]
    assert replay_dead(session, selection=Selection(ids=(job_id,)), actor="bob") == []
    [entry] = list_audit(session)
    assert (entry["actor"], entry["action"], entry["target"]) == ("ada", "replay", job_id)
    assert "1 jobs" in entry["detail"]


def test_a_key_conflict_is_not_replayed(session: Session) -> None:
    """Under its key another payload has run, or will."""
    claimed(session, body=b'{"n":1}', key="k")
    conflict = an_offer(b'{"n":2}', key="k")
    deliver(session, conflict)
    assert replay_dead(session, selection=ALL, actor="ada") == []
    assert discard_dead(session, selection=ALL, actor="ada") == [conflict.message.id]


def test_only_what_was_selected_is_replayed(session: Session) -> None:
    """And nothing that is not dead."""
    wanted, other = _dead(session, fingerprint="f1"), _dead(session, fingerprint="f2")
    done = put(session, state="completed")
    selection = Selection(fingerprint="f1", ids=(wanted, other, done))
    assert replay_dead(session, selection=selection, actor="ada") == [wanted]
    assert [state_of(session, it) for it in (wanted, other, done)] == ["available", "dead", "completed"]


def test_a_paced_replay_spreads_the_due_times(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """At ten a second the hundredth is due ten seconds after the first; also across batches."""
    monkeypatch.setattr(dead_letters, "REPLAY_BATCH_JOBS", 30)
    ids = _many_dead(session, 100)
    assert replay_dead(session, selection=ALL, actor="ada", per_second=0.1) == ids
    due = [row_of(session, job_id).due_at for job_id in ids]
    gaps = [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(due)]
    assert all(8 < gap < 12 for gap in gaps)
    assert 980 < (due[-1] - due[0]).total_seconds() < 1000
    assert len(select_due(session, queue="demo", limit=200)) < 5


def test_a_replay_without_a_pace_is_due_at_once(session: Session) -> None:
    """All of it."""
    _many_dead(session, 20)
    replay_dead(session, selection=ALL, actor="ada")
    assert len(select_due(session, queue="demo", limit=200)) == 20


def test_a_replay_that_was_cut_off_goes_on_when_it_is_asked_again(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches are committed one by one; what is done is skipped."""
    monkeypatch.setattr(dead_letters, "REPLAY_BATCH_JOBS", 10)
    ids = _many_dead(session, 35)
    _fail_after(monkeypatch, batches=2)
    with pytest.raises(ConnectionError):
        replay_dead(session, selection=ALL, actor="ada")
    assert [state_of(session, job_id) for job_id in ids] == ["available"] * 20 + ["dead"] * 15
    monkeypatch.undo()
    assert replay_dead(session, selection=ALL, actor="ada") == ids[20:]


def test_a_job_that_dies_again_during_a_replay_is_not_replayed_twice(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once each: a replay of jobs that fail at once must come to an end."""
    monkeypatch.setattr(dead_letters, "REPLAY_BATCH_JOBS", 10)
    ids = _many_dead(session, 25)

    def die_again(*_: Any, **__: Any) -> None:
        session.connection.execute(update(jobs).values(state="dead", reason="attempts"))

    monkeypatch.setattr("penstock.ledger.dead_letters.record", die_again)
    assert replay_dead(session, selection=ALL, actor="ada") == ids


def test_discarded_jobs_are_cancelled_and_written_down(session: Session) -> None:
    """Given up, with who did it; the rest stays dead."""
    wanted, other = _dead(session, type="demo.a"), _dead(session, type="demo.b")
    assert discard_dead(session, selection=Selection(type="demo.a"), actor="ada") == [wanted]
    row = row_of(session, wanted)
    assert (row.state, row.reason) == ("cancelled", "discarded")
    assert state_of(session, other) == "dead"
    assert discard_dead(session, selection=Selection(type="demo.a"), actor="bob") == []
    [entry] = list_audit(session)
    assert (entry["actor"], entry["action"], entry["target"]) == ("ada", "discard", wanted)
    assert "type demo.a" in entry["detail"]


def test_large_discards_go_in_batches(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with its line in the audit."""
    monkeypatch.setattr(dead_letters, "REPLAY_BATCH_JOBS", 10)
    ids = _many_dead(session, 25)
    assert discard_dead(session, selection=ALL, actor="ada") == ids
    assert len(list_audit(session)) == 3


def test_a_selection_says_in_words_what_it_selects() -> None:
    """As it stands in the audit."""
    assert str(ALL) == "all"
    assert str(Selection(type="demo.a", reason="crash")) == "type demo.a, reason crash"
    assert str(Selection(ids=("a", "b"))) == "ids a, b"


def _dead(session: Session, **columns: Any) -> str:
    return put(session, **({"state": "dead", "reason": "attempts", "finished_at": datetime.now(UTC)} | columns))


def _many_dead(session: Session, number: int) -> list[str]:
    rows = [a_row(state="dead", reason="attempts", finished_at=datetime.now(UTC)) for _ in range(number)]
    session.connection.execute(insert(jobs), rows)
    return [row["id"] for row in rows]


def _fail_after(monkeypatch: pytest.MonkeyPatch, *, batches: int) -> None:
    """The connection breaks inside the next batch."""
    calls = []

    def break_down(*args: Any, **named: Any) -> None:
        calls.append(1)
        if len(calls) > batches:
            raise ConnectionError
        record(*args, **named)

    monkeypatch.setattr("penstock.ledger.dead_letters.record", break_down)
