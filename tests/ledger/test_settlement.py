"""Outcomes become end states or rows that wait again, all of a batch at once, and only under their own token."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select
from tests.ledger.samples import (
    OTHER_TOKEN,
    PROCESS,
    TOKEN,
    accepted,
    an_offer,
    change,
    claimed,
    count,
    deliver,
    row_of,
    state_of,
    waiting_offer,
)

from penstock.ledger import jobs
from penstock.ledger.claims import claim_due
from penstock.ledger.database import Session
from penstock.ledger.dialects import BadValue
from penstock.ledger.settlement import Failure, Outcome, settle
from penstock.ledger.state import Reason, State
from penstock.ledger.tables import attempts
from penstock.ledger.tables import jobs as jobs_table

LONG_AGO = datetime.now(UTC) - timedelta(days=2)
FAILURE = Failure("failed", "ValueError", "no such order", "Traceback …\n  line 3", "ab12")


def test_each_kind_of_outcome_lands_in_one_batch(session: Session) -> None:
    """One settle for all that the process has finished meanwhile."""
    outcomes = {
        "completed": Outcome(_id(session), TOKEN, State.COMPLETED),
        "with result": Outcome(_id(session), TOKEN, State.COMPLETED, result=b'{"total":3}'),
        "retryable": Outcome(_id(session), TOKEN, State.RETRYABLE, delay_seconds=60, failure=FAILURE),
        "dead": Outcome(_id(session), TOKEN, State.DEAD, Reason.PERMANENT, failure=FAILURE),
        "snoozed": Outcome(_id(session), TOKEN, State.SCHEDULED, counts=False, delay_seconds=60),
        "released": Outcome(_id(session), TOKEN, State.AVAILABLE, counts=False),
    }

    assert settle(session, list(outcomes.values()), process_id=PROCESS) == set()

    rows = {name: row_of(session, outcome.job_id) for name, outcome in outcomes.items()}
    assert {name: (row.state, row.reason, row.attempts) for name, row in rows.items()} == {
        "completed": ("completed", None, 1),
        "with result": ("completed", None, 1),
        "retryable": ("retryable", None, 1),
        "dead": ("dead", "permanent", 1),
        "snoozed": ("scheduled", None, 0),
        "released": ("available", None, 0),
    }
    assert rows["with result"].result == b'{"total":3}'
    assert rows["dead"].error == "ValueError: no such order"
    assert rows["dead"].fingerprint == "ab12"
    assert rows["retryable"].error == "ValueError: no such order"
    assert [name for name, row in rows.items() if row.finished_at is not None] == ["completed", "with result", "dead"]
    due = [row.id for row in claim_due(session, queues=["demo"], limit=9, token=OTHER_TOKEN, process_id=PROCESS)]
    assert due == [outcomes["released"].job_id]


def test_a_batch_of_one_lands_like_any_other(session: Session) -> None:
    """Every optional column of the batch is NULL, or there is only one value."""
    for outcome in (
        Outcome(_id(session), TOKEN, State.COMPLETED),
        Outcome(_id(session), TOKEN, State.RETRYABLE),
        Outcome(_id(session), TOKEN, State.DEAD, Reason.ATTEMPTS, failure=Failure("failed")),
    ):
        assert settle(session, [outcome]) == set()
        assert state_of(session, outcome.job_id) == outcome.state


@pytest.mark.parametrize("result", [None, b"1"])
def test_a_stale_token_settles_nothing(session: Session, result: bytes | None) -> None:
    """Rescued and claimed again by somebody else: the old holder is told, and its neighbours land."""
    stale, mine = _id(session), _id(session)
    change(session, stale, token=OTHER_TOKEN)

    fenced = settle(session, [Outcome(job_id, TOKEN, State.COMPLETED, result=result) for job_id in (stale, mine)])

    assert fenced == {stale}
    assert (state_of(session, stale), state_of(session, mine)) == ("executing", "completed")


@pytest.mark.parametrize("state", [state for state in State if state is not State.EXECUTING])
def test_a_row_that_no_longer_executes_is_not_settled(session: Session, state: State) -> None:
    """Not even under the token that it had."""
    job_id = _id(session)
    change(session, job_id, state=state, token=TOKEN)
    outcome = Outcome(job_id, TOKEN, State.RETRYABLE, failure=FAILURE, follow_ups=(waiting_offer(),))
    before = row_of(session, job_id)

    assert settle(session, [outcome]) == {job_id}

    assert row_of(session, job_id) == before
    assert (count(session, attempts), count(session, jobs_table)) == (0, 1)


def test_settling_again_after_a_lost_reply_is_not_fenced(session: Session) -> None:
    """The commit had landed: whoever asks again is told that all is well."""
    plain, other = _id(session), _id(session)
    batch = [
        Outcome(plain, TOKEN, State.COMPLETED),
        Outcome(other, TOKEN, State.COMPLETED, result=b"1", follow_ups=(waiting_offer(),)),
    ]
    assert settle(session, batch) == set()
    assert settle(session, batch) == set()
    assert row_of(session, other).attempts == 1
    assert count(session, jobs_table) == 3


def test_an_unknown_job_is_fenced(session: Session) -> None:
    """A restored backup may not know it."""
    ghost = an_offer().message.id
    assert settle(session, [Outcome(ghost, TOKEN, State.COMPLETED)]) == {ghost}


def test_a_job_that_somebody_wants_cancelled_does_not_run_again(session: Session) -> None:
    """Completed counts as completed, dead as dead; what would come back is cancelled."""
    ends = {
        State.COMPLETED: "completed",
        State.DEAD: "dead",
        State.RETRYABLE: "cancelled",
        State.SCHEDULED: "cancelled",
        State.AVAILABLE: "cancelled",
    }
    for state, end in ends.items():
        job_id = _id(session)
        assert jobs.cancel_job(session, job_id, actor="ada") == "requested"
        settle(session, [Outcome(job_id, TOKEN, state, counts=state is not State.AVAILABLE)])
        row = row_of(session, job_id)
        assert row.state == end
        assert row.finished_at is not None
        assert (row.reason == "cancelled") == (end == "cancelled")


def test_follow_ups_commit_with_the_outcome(session: Session) -> None:
    """Accepted together; those of a fenced job are not accepted at all."""
    mine, stale = _id(session), _id(session)
    change(session, stale, token=OTHER_TOKEN)
    own, shared, foreign = waiting_offer(), waiting_offer(key="k"), waiting_offer()

    settle(
        session,
        [
            Outcome(mine, TOKEN, State.COMPLETED, follow_ups=(own, shared)),
            Outcome(stale, TOKEN, State.COMPLETED, follow_ups=(foreign,)),
        ],
    )

    assert [state_of(session, it.message.id) for it in (own, shared, foreign)] == ["available", "available", "unseen"]


def test_an_outcome_whose_follow_up_is_refused_does_not_land(session: Session) -> None:
    """Together or not at all."""
    job_id = _id(session)
    broken = waiting_offer(tenant="\ud800")
    with pytest.raises(BadValue, match="'tenant'"):
        settle(session, [Outcome(job_id, TOKEN, State.COMPLETED, follow_ups=(broken,))])
    assert state_of(session, job_id) == "executing"


def test_every_failure_is_kept_with_its_attempt(session: Session) -> None:
    """The history of a job that failed twice and then completed."""
    job_id = accepted(session)
    for attempt in (1, 2):
        deliver(session, an_offer(id=job_id))
        failure = Failure("failed", "ValueError", f"try {attempt}", "Traceback", "ab12")
        settle(session, [Outcome(job_id, TOKEN, State.RETRYABLE, failure=failure)], process_id=PROCESS)
    deliver(session, an_offer(id=job_id))
    settle(session, [Outcome(job_id, TOKEN, State.COMPLETED)])

    shown = jobs.show_job(session, job_id)

    assert shown is not None
    assert (shown["state"], shown["attempts"]) == ("completed", 3)
    assert [(it["attempt"], it["kind"], it["error_class"], it["message"]) for it in shown["history"]] == [
        (1, "failed", "ValueError", "try 1"),
        (2, "failed", "ValueError", "try 2"),
    ]
    assert {it["process_id"] for it in shown["history"]} == {PROCESS}
    assert {it["fingerprint"] for it in shown["history"]} == {"ab12"}


def test_hostile_texts_of_a_failure_land_and_leave_their_neighbours_alone(session: Session) -> None:
    """An exception may say anything: separators of the batch, NUL, lone surrogates, a megabyte."""
    texts = [
        "separators \x1f and \x1e, \x1e",
        "\x1e",
        "\x1f",
        "",
        "NUL \x00",
        "lone \ud800 surrogate",
        "🦀 é \u2028 \x85 \x7f",
        "lines\nand\ttabs\r\n",
        "x" * 1_000_000,
        "'; DROP TABLE jobs; -- %s %(x)s :input {} $1",
        "NULL",
        "plain",
    ]
    ids = [_id(session) for _ in texts]

    settle(
        session,
        [
            Outcome(job_id, TOKEN, State.RETRYABLE, failure=Failure("failed", text[:80], text, text, text[:80]))
            for job_id, text in zip(ids, texts, strict=True)
        ],
    )

    kept = {row.job_id: row for row in session.connection.execute(select(attempts))}
    messages = [kept[job_id].message for job_id in ids]
    assert messages == [
        "separators  and , ",
        "",
        "",
        "",
        "NUL ",
        "lone ? surrogate",
        "🦀 é \u2028 \x85 \x7f",
        "lines\nand\ttabs\n",
        "x" * 1_000_000,
        "'; DROP TABLE jobs; -- %s %(x)s :input {} $1",
        "NULL",
        "plain",
    ]
    assert [kept[job_id].traceback for job_id in ids] == messages
    assert {row_of(session, job_id).state for job_id in ids} == {"retryable"}
    assert row_of(session, ids[-1]).error == "plain: plain"
    assert row_of(session, ids[8]).error.startswith("xxx")


@pytest.mark.parametrize("text", ["", "\x1e", "\x1f", "\x00"])
def test_a_hostile_text_alone_in_its_batch_is_an_empty_one(session: Session, text: str) -> None:
    """A batch of one value is where an empty text is easily taken for none."""
    job_id = _id(session)
    settle(session, [Outcome(job_id, TOKEN, State.DEAD, Reason.PERMANENT, failure=Failure("failed", text, text, text))])
    row = session.connection.execute(select(attempts)).one()
    assert (row.job_id, row.error_class, row.message, row.traceback) == (job_id, "", "", "")


RESULTS: list[Any] = [b"", b'""', b"null", b'"\\u001f\\u0000\\ud800"', '"🦀"'.encode(), b'{"a": [1,\n\t2]}', b"0"]


def test_results_are_kept_byte_for_byte(session: Session) -> None:
    """In a batch and alone."""
    for batch in (RESULTS, *([result] for result in RESULTS)):
        ids = [_id(session) for _ in batch]
        settle(
            session,
            [Outcome(job_id, TOKEN, State.COMPLETED, result=it) for job_id, it in zip(ids, batch, strict=True)],
        )
        assert [row_of(session, job_id).result for job_id in ids] == batch


@pytest.mark.parametrize("result", [b'"\x1f"', b'"\x1e"', b"\x1e", b"\x00", b"\xff\xfe", b"\xed\xa0\x80"])
def test_a_result_that_is_no_json_is_refused_and_shifts_nobody_elses(session: Session, result: bytes) -> None:
    """It must not come out as the result of the next job in the batch."""
    ids = [_id(session) for _ in range(3)]
    batch = [
        Outcome(job_id, TOKEN, State.COMPLETED, result=it) for job_id, it in zip(ids, [b"1", result, b"3"], strict=True)
    ]
    with pytest.raises(BadValue, match="'result'"):
        settle(session, batch)
    assert {state_of(session, job_id) for job_id in ids} == {"executing"}
    settle(session, [batch[0], batch[2]])
    assert [row_of(session, job_id).result for job_id in ids] == [b"1", None, b"3"]


@pytest.mark.parametrize(
    ("row", "outcome", "becomes"),
    [
        ({"troubles": 49}, {"trouble": True}, ("dead", "infrastructure")),
        ({"at_most_once": True}, {"state": State.RETRYABLE}, ("dead", "outcome_unknown")),
        ({"unknown_since": LONG_AGO}, {"reason": Reason.UNKNOWN_TYPE}, ("dead", "unknown_type")),
        ({"cancel_requested_at": LONG_AGO}, {}, ("cancelled", "cancelled")),
        ({"attempts": 3}, {}, ("available", None)),
    ],
)
def test_an_outcome_says_what_the_row_has_made_of_it(
    session: Session, row: dict[str, Any], outcome: dict[str, Any], becomes: tuple[str, str | None]
) -> None:
    """By which the metrics count deaths that the settler could not know of."""
    claim = claimed(session)
    change(session, claim.id, **row)
    settled = Outcome(claim.id, TOKEN, **{"state": State.AVAILABLE, "counts": False, **outcome})
    settle(session, [settled])
    assert (settled.state, settled.reason) == becomes
    assert (row_of(session, claim.id).state, row_of(session, claim.id).reason) == becomes


def test_the_fiftieth_trouble_of_the_engine_is_the_last(session: Session) -> None:
    """A job must not be driven around a broken engine for ever."""
    job_id = accepted(session)
    change(session, job_id, troubles=48)
    failure = Failure("infrastructure", message="Postgres went away")
    for state, reason in (("available", None), ("dead", "infrastructure")):
        deliver(session, an_offer(id=job_id))
        settle(session, [Outcome(job_id, TOKEN, State.AVAILABLE, counts=False, trouble=True, failure=failure)])
        row = row_of(session, job_id)
        assert (row.state, row.reason, row.attempts) == (state, reason, 0)


def _id(session: Session) -> str:
    return claimed(session).id
