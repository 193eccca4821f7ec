"""`penstock dead`."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from tests.console.command import Command
from tests.ledger.samples import put, row_of, state_of

from penstock.ledger.audit import list_audit
from penstock.ledger.database import Session
from penstock.schemas.identifiers import new_job_id


def dead(session: Session, **columns: Any) -> str:
    """A dead letter."""
    plain = {"state": "dead", "reason": "attempts", "fingerprint": "f1", "error": "E: no", "attempts": 3}
    return put(session, finished_at=datetime.now(UTC), **(plain | columns))


def test_dead_letters_are_grouped_by_what_killed_them(penstock: Command, session: Session) -> None:
    """The largest group first."""
    for _ in range(2):
        dead(session)
    dead(session, fingerprint="f2", reason="permanent")
    groups = penstock("dead", "list", "--json").documents
    assert [(group["jobs"], group["fingerprint"], group["reason"]) for group in groups] == [
        (2, "f1", "attempts"),
        (1, "f2", "permanent"),
    ]
    table = penstock("dead", "list").out
    assert table.index("f1") < table.index("f2")


@pytest.mark.parametrize(
    ("option", "columns"),
    [
        (("--type", "demo.other"), {"type": "demo.other"}),
        (("--fingerprint", "f2"), {"fingerprint": "f2"}),
        (("--reason", "crash"), {"reason": "crash"}),
    ],
)
def test_lists_can_be_narrowed(
    option: tuple[str, str], columns: dict[str, Any], penstock: Command, session: Session
) -> None:
    """Groups and single ones alike."""
    wanted = dead(session, **columns)
    dead(session)
    assert [group["jobs"] for group in penstock("dead", "list", *option, "--json").documents] == [1]
    assert [job["id"] for job in penstock("dead", "list", "--each", *option, "--json").documents] == [wanted]
    assert wanted in penstock("dead", "list", "--each", *option).out


@pytest.mark.parametrize("width", ["80", "100"])
def test_ids_and_fingerprints_are_whole_at_any_width(width: str, penstock: Command, session: Session) -> None:
    """They are copied into the next command; an error is wrapped below them."""
    job_id = dead(
        session,
        type="notifications.email.digest",
        reason="outcome_unknown",
        fingerprint="9c12ab99ff00",
        error="E: " + "no " * 40,
    )
    each, groups = penstock("dead", "list", "--each", width=width).out, penstock("dead", "list", width=width).out
    assert job_id in each
    assert " s ago" in each
    assert "9c12ab99ff00" in groups
    assert max(map(len, (each + groups).splitlines())) <= int(width)


def test_a_ledger_without_dead_letters_says_so(penstock: Command, session: Session) -> None:
    """In both lists."""
    put(session)
    assert penstock("dead", "list").out == penstock("dead", "list", "--each").out == "no dead letters\n"


def test_a_dead_letter_is_shown_like_any_job(penstock: Command, session: Session) -> None:
    """With what to do about it."""
    job_id = dead(session)
    assert "`penstock dead replay`" in penstock("dead", "show", job_id).out


@pytest.mark.parametrize(
    "selection", [("--fingerprint", "f1"), ("--type", "demo.job"), ("--reason", "attempts"), ("--all",), ("ids",)]
)
def test_dead_letters_are_replayed_once_each(selection: tuple[str, ...], penstock: Command, session: Session) -> None:
    """The second time the command says that they were replayed already, by whom, and does nothing."""
    ids = [dead(session) for _ in range(3)]
    words = tuple(ids) if selection == ("ids",) else selection
    first = penstock("dead", "replay", *words, "--yes", "--actor", "bob", "--json")
    assert first.code == 0
    assert (first.document["replayed"], first.document["already_replayed"]) == (3, 0)
    assert {state_of(session, job_id) for job_id in ids} == {"available"}
    second = penstock("dead", "replay", *words, "--yes")
    assert second.code == 0
    assert "replayed 0 dead letters; 3 had been replayed already, last by bob" in second.out
    assert penstock("dead", "replay", *words, "--yes", "--json").document["already_replayed"] == 3
    assert len([row for row in list_audit(session) if row["action"] == "replay"]) == 1


def test_a_replay_may_be_paced(penstock: Command, session: Session) -> None:
    """So many fall due in a second."""
    ids = [dead(session) for _ in range(3)]
    assert "at 0.5 per second" in penstock("dead", "replay", "--all", "--yes", "--per-second", "0.5").out
    due = sorted(row_of(session, job_id).due_at for job_id in ids)
    assert [round((late - early).total_seconds()) for early, late in pairwise(due)] == [2, 2]


def test_it_asks_with_the_count_first(penstock: Command, session: Session) -> None:
    """No answer is no."""
    ids = [dead(session) for _ in range(2)]
    refused = penstock("dead", "replay", "--all", stdin="n\n")
    assert refused.code == 1
    assert "replay 2 dead letters?" in refused.err
    silent = penstock("dead", "discard", "--all", stdin="")
    assert silent.code == 1
    assert "give --yes" in silent.err
    assert {state_of(session, job_id) for job_id in ids} == {"dead"}
    assert penstock("dead", "replay", "--all", stdin="y\n").out.endswith("replayed 2 dead letters\n")


def test_a_key_conflict_is_left_alone_and_said(penstock: Command, session: Session) -> None:
    """Under its key another payload has run."""
    job_id = dead(session, reason="key_conflict", fingerprint=None, error=None)
    answer = penstock("dead", "replay", job_id, "--yes")
    assert answer.code == 1
    assert "replayed 0 dead letters; 1 dead letter with a key conflict left alone" in answer.out
    assert state_of(session, job_id) == "dead"


def test_discarded_dead_letters_are_cancelled(penstock: Command, session: Session) -> None:
    """And there is nothing to discard any more."""
    ids = [dead(session), dead(session, reason="key_conflict")]
    answer = penstock("dead", "discard", "--all", "--yes", "--json")
    assert answer.document == {"discarded": 2, "ids": sorted(ids)}
    assert {row_of(session, job_id).reason for job_id in ids} == {"discarded"}
    assert penstock("dead", "discard", "--all", "--yes").code == 1


def test_what_is_not_dead_is_not_replayed(penstock: Command, session: Session) -> None:
    """Exit code 1: nothing was replayed, nor had been."""
    waiting = put(session, state="scheduled", due_at=datetime.now(UTC) + timedelta(hours=1))
    answer = penstock("dead", "replay", waiting, new_job_id(), "--yes")
    assert (answer.code, answer.out) == (1, "replayed 0 dead letters\n")
    assert state_of(session, waiting) == "scheduled"


@pytest.mark.parametrize("verb", ["replay", "discard"])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "which ones?"),
        (("--all", "--type", "demo.job"), "--all does not go with"),
        (("x",), "'x' is not a job id"),
    ],
)
def test_the_selection_must_be_clear(
    words: tuple[str, ...], said: str, verb: str, penstock: Command, session: Session
) -> None:
    """Nothing is replayed or given up by accident."""
    job_id = dead(session)
    answer = penstock("dead", verb, *words, "--yes")
    assert answer.code == 2
    assert said in answer.error
    assert state_of(session, job_id) == "dead"
