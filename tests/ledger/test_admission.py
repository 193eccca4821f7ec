"""Jobs enter the ledger: new ones, known ones, late ones, old ones, and those that are not what they say."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.ledger.samples import (
    OTHER_PROCESS,
    OTHER_TOKEN,
    PROCESS,
    TOKEN,
    a_message,
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

from penstock.ledger import claims, jobs
from penstock.ledger.admission import Admitted, admit, admit_within, offer
from penstock.ledger.database import Session
from penstock.ledger.dead_letters import Selection, replay_dead
from penstock.ledger.dispatches import count_dispatched, mark_dispatched, select_due
from penstock.ledger.settlement import Outcome, settle
from penstock.ledger.state import Reason, State
from penstock.ledger.tables import dedup_keys
from penstock.ledger.tables import jobs as jobs_table
from penstock.schemas import Contract
from penstock.schemas.identifiers import new_job_id


def test_a_new_job_is_executing_under_the_token_of_the_batch(session: Session) -> None:
    """Nothing of the message is lost on the way into the row and into the claim."""
    new = an_offer(b'{"a": 1}', version=3, tenant="acme", correlation_id="c-1", traceparent="00-ab", app_id="shop")

    admission = deliver(session, new)

    assert admission.outcomes == {new.message.id: Admitted.CLAIMED}
    [claim] = admission.claims
    assert (claim.id, claim.type, claim.version, claim.queue) == (new.message.id, "demo.job", 3, "demo")
    assert (claim.payload, claim.token, claim.attempts) == (b'{"a": 1}', TOKEN, 0)
    assert (claim.tenant, claim.correlation_id, claim.traceparent) == ("acme", "c-1", "00-ab")
    row = row_of(session, claim.id)
    assert (row.state, row.token, row.process_id, row.payload) == ("executing", TOKEN, PROCESS, b'{"a": 1}')
    assert (row.app_id, row.attempts, row.finished_at) == ("shop", 0, None)
    assert row.started_at == row.created_at


def test_a_redelivery_is_absorbed_in_every_state(session: Session) -> None:
    """The id makes a redelivery harmless, whatever has become of the job."""
    first = an_offer()
    deliver(session, first)
    for state in State:
        change(session, first.message.id, state=state, token=OTHER_TOKEN, due_at=datetime.now(UTC) + timedelta(days=1))
        admission = deliver(session, first)
        assert admission.outcomes == {first.message.id: Admitted.DUPLICATE}
        assert admission.claims == []
        assert state_of(session, first.message.id) == state


@pytest.mark.parametrize("state", [State.AVAILABLE, State.SCHEDULED, State.RETRYABLE])
def test_a_delivery_claims_the_due_row_and_runs_its_bytes(session: Session, state: State) -> None:
    """What the broker carries is a hint; the ledger's bytes are run, with the ledger's count of attempts."""
    job_id = accepted(session, body=b'{"n":1}')
    change(session, job_id, state=state, attempts=4)

    [claim] = deliver(session, an_offer(b'{"n":2}', id=job_id)).claims

    assert (claim.id, claim.payload, claim.attempts, claim.token) == (job_id, b'{"n":1}', 4, TOKEN)
    assert claim.due_at is not None
    assert claim.due_at.utcoffset() == timedelta(0)
    assert row_of(session, job_id).dispatch_number == 1


def test_the_claims_of_a_batch_say_whether_a_cancel_was_asked_for(session: Session) -> None:
    """A claim that is read back may have been asked to stop meanwhile."""
    claim = claimed(session)
    jobs.cancel_job(session, claim.id, actor="ada")
    [again] = deliver(session, an_offer(id=claim.id)).claims
    assert again.cancel_requested


def test_a_claim_whose_reply_was_lost_is_found_by_asking_again_with_its_token(session: Session) -> None:
    """The same token gets the same claim; another one gets nothing."""
    offers = [an_offer(), an_offer(key="k"), an_offer()]
    first = deliver(session, *offers)

    again = deliver(session, *offers)
    stranger = deliver(session, *offers, token=OTHER_TOKEN, process_id=OTHER_PROCESS)

    assert again.outcomes == first.outcomes
    assert {claim.id for claim in again.claims} == {claim.id for claim in first.claims}
    assert {claim.payload for claim in again.claims} == {b'{"n":1}'}
    assert set(stranger.outcomes.values()) == {Admitted.DUPLICATE}
    assert stranger.claims == []
    assert count(session, jobs_table) == 3
    back = claims.read_back(session, token=TOKEN, process_id=PROCESS)
    assert {claim.id for claim in back} == {claim.id for claim in first.claims}
    assert claims.read_back(session, token=OTHER_TOKEN, process_id=PROCESS) == []


def test_the_same_id_twice_in_one_batch_counts_once_and_the_first_one_counts(session: Session) -> None:
    """A broker may redeliver into the same batch."""
    job_id = new_job_id()
    admission = deliver(session, an_offer(b'{"n":1}', id=job_id), an_offer(b'{"n":2}', id=job_id))
    assert admission.outcomes == {job_id: Admitted.CLAIMED}
    assert [claim.payload for claim in admission.claims] == [b'{"n":1}']


@pytest.mark.parametrize("delivered", [{"type": "demo.other"}, {"key": "another"}, {"key": None}])
def test_an_id_that_returns_under_another_type_or_key_is_a_mismatch(
    session: Session, delivered: dict[str, Any]
) -> None:
    """A reused id must neither run nor disturb the job whose id it is, nor take a key."""
    first = waiting_offer(key="k")
    admit(session, [first])

    admission = deliver(session, an_offer(id=first.message.id, **({"key": "k"} | delivered)))

    assert admission.outcomes == {first.message.id: Admitted.MISMATCH}
    assert state_of(session, first.message.id) == "available"
    assert count(session, dedup_keys) == 1


def test_a_mismatch_fails_only_itself(session: Session) -> None:
    """Its neighbours in the batch are claimed."""
    job_id = accepted(session)
    offers = [an_offer(), an_offer(id=job_id, type="demo.other"), an_offer(key="k")]
    admission = deliver(session, *offers)
    assert list(admission.outcomes.values()).count(Admitted.CLAIMED) == 2
    assert admission.outcomes[job_id] is Admitted.MISMATCH


@pytest.mark.parametrize("key", [None, "k"])
def test_a_tombstone_cancels_the_job_that_arrives(session: Session, key: str | None) -> None:
    """Cancelled before it was seen: absorbed, never run, and its key is free."""
    late = an_offer(key=key)
    assert jobs.cancel_job(session, late.message.id, actor="ada") == "cancelled"

    admission = deliver(session, late)

    assert admission.outcomes == {late.message.id: Admitted.DUPLICATE}
    assert admission.claims == []
    assert state_of(session, late.message.id) == "cancelled"
    assert count(session, dedup_keys) == 0


@pytest.mark.parametrize("key", [None, "k"])
def test_an_id_older_than_the_memory_without_a_row_must_not_run(session: Session, key: str | None) -> None:
    """Its row may have been pruned after it ran. It leaves no trace: no row, and no key that would block others."""
    old = an_offer(key=key, known_only=True)

    admission = deliver(session, old)

    assert admission.outcomes == {old.message.id: Admitted.TOO_OLD}
    assert (count(session, jobs_table), count(session, dedup_keys)) == (0, 0)
    if key is not None:
        again = an_offer(key=key)
        assert deliver(session, again).outcomes == {again.message.id: Admitted.CLAIMED}


@pytest.mark.parametrize("key", [None, "k"])
def test_an_old_id_with_a_row_is_claimed_like_any_other(session: Session, key: str | None) -> None:
    """A job may wait longer than the memory lasts."""
    job_id = accepted(session, key=key)
    assert [claim.id for claim in deliver(session, an_offer(id=job_id, key=key, known_only=True)).claims] == [job_id]


def test_a_job_that_is_due_later_waits_in_the_ledger(session: Session) -> None:
    """Whatever the reader's clock made of it."""
    due = datetime.now(UTC) + timedelta(hours=1)
    offers = [an_offer(due_at=due, state=state) for state in (State.EXECUTING, State.AVAILABLE, State.SCHEDULED)]

    admission = deliver(session, *offers)

    assert set(admission.outcomes.values()) == {Admitted.ABSORBED}
    for job_id in admission.outcomes:
        row = row_of(session, job_id)
        assert (row.state, row.token, row.process_id, row.started_at) == ("scheduled", None, None, None)
        assert abs(row.due_at - due) < timedelta(milliseconds=1)
        assert row.due_at.utcoffset() == timedelta(0)


def test_a_job_whose_time_has_come_starts_at_once(session: Session) -> None:
    """A due time in the past is no delay, and no reason to wait for the dispatcher."""
    past = datetime.now(UTC) - timedelta(hours=1)
    now, later = an_offer(due_at=past), an_offer(due_at=past, state=State.SCHEDULED)
    admission = deliver(session, now, later)
    assert admission.outcomes == {now.message.id: Admitted.CLAIMED, later.message.id: Admitted.ABSORBED}
    assert state_of(session, later.message.id) == "available"


@pytest.mark.parametrize("due_hours", [None, -1, 5])
def test_a_delay_is_how_long_a_job_waits_at_least(session: Session, due_hours: int | None) -> None:
    """A job that is put aside for a while must not come back at once because its own due time is long past."""
    started = datetime.now(UTC)
    due = None if due_hours is None else started + timedelta(hours=due_hours)
    put_aside = an_offer(state=State.AVAILABLE, due_at=due, delay_seconds=3600.0)

    deliver(session, put_aside)

    row = row_of(session, put_aside.message.id)
    expected = started + timedelta(hours=max(1, due_hours or 0))
    assert row.state == "scheduled"
    assert abs(row.due_at - expected) < timedelta(minutes=10)


def test_what_is_absorbed_waits_with_its_reason(session: Session) -> None:
    """Unknown type, paused queue: in the ledger, unclaimed, and visible with the reason."""
    parked = waiting_offer()
    parked = type(parked)(parked.message, parked.queue, parked.state, Reason.UNKNOWN_TYPE)
    assert deliver(session, parked).outcomes == {parked.message.id: Admitted.ABSORBED}
    row = row_of(session, parked.message.id)
    assert (row.state, row.reason, row.token) == ("available", "unknown_type", None)


@pytest.mark.parametrize(("unknown_hours", "delay_seconds"), [(0, 30.0), (0.05, 180.0), (1, 600.0), (23, 600.0)])
def test_what_nobody_knows_is_tried_again_ever_later(
    session: Session, unknown_hours: float, delay_seconds: float
) -> None:
    """A deploy takes minutes; a hundred thousand jobs of a type that is gone must not be dispatched twice a minute."""
    job_id = accepted(session)
    change(session, job_id, unknown_since=datetime.now(UTC) - timedelta(hours=unknown_hours))
    deliver(session, waiting_offer(id=job_id, delay_seconds=30.0, reason=Reason.UNKNOWN_TYPE))
    row = row_of(session, job_id)
    assert (row.state, row.reason) == ("available", "unknown_type")
    assert abs((row.due_at - datetime.now(UTC)).total_seconds() - delay_seconds) < 20


def test_what_nobody_has_known_for_a_day_is_a_dead_letter_that_can_be_replayed(session: Session) -> None:
    """It starts afresh then, with another day."""
    job_id = accepted(session)
    change(session, job_id, unknown_since=datetime.now(UTC) - timedelta(hours=25))
    unknown = waiting_offer(id=job_id, delay_seconds=30.0, reason=Reason.UNKNOWN_VERSION)

    assert deliver(session, unknown).outcomes == {job_id: Admitted.GIVEN_UP}

    row = row_of(session, job_id)
    assert (row.state, row.reason, row.attempts) == ("dead", "unknown_version", 0)
    assert replay_dead(session, selection=Selection(ids=(job_id,)), actor="ada") == [job_id]
    assert deliver(session, unknown).outcomes == {job_id: Admitted.ABSORBED}


@pytest.mark.parametrize("delay_seconds", [0.0, 3600.0])
def test_a_due_job_that_is_delivered_where_it_cannot_start_is_dispatched_again(
    session: Session, delay_seconds: float
) -> None:
    """Its delivery is acked: the row must not count as on its way, and a late mark must miss it."""
    job_id = accepted(session)
    seen = select_due(session, queue="demo", limit=1)
    mark_dispatched(session, seen)

    admission = deliver(session, waiting_offer(id=job_id, delay_seconds=delay_seconds))

    assert admission.outcomes == {job_id: Admitted.ABSORBED}
    assert count_dispatched(session, "demo") == 0
    assert mark_dispatched(session, seen) == 0
    assert len(select_due(session, queue="demo", limit=1)) == (0 if delay_seconds else 1)


@pytest.mark.parametrize("unfit", [{"suspect": True}, {"due_at": datetime.now(UTC) + timedelta(days=1)}])
def test_absorbing_a_job_that_is_not_due_here_changes_nothing(session: Session, unfit: dict[str, Any]) -> None:
    """A duplicate of a job that waits for its time, or for the suspect lane."""
    job_id = accepted(session)
    change(session, job_id, **unfit)
    before = row_of(session, job_id)
    assert deliver(session, waiting_offer(id=job_id)).outcomes == {job_id: Admitted.DUPLICATE}
    assert row_of(session, job_id) == before


def test_a_suspect_is_not_claimed_by_a_delivery(session: Session) -> None:
    """It runs alone, in the suspect lane."""
    job_id = accepted(session)
    change(session, job_id, suspect=True)
    assert deliver(session, an_offer(id=job_id)).outcomes == {job_id: Admitted.DUPLICATE}
    lane = claims.claim_due(session, queues=["demo"], limit=5, token=TOKEN, process_id=PROCESS, suspects=True)
    assert [claim.id for claim in lane] == [job_id]


def test_a_claim_without_a_fence_is_refused_before_anything_is_written(session: Session) -> None:
    """A row that executes under nobody's token would never be freed."""
    fences: list[dict[str, Any]] = [{}, {"token": TOKEN}, {"process_id": PROCESS}]
    for fence in fences:
        with pytest.raises(ValueError, match="token"):
            admit(session, [an_offer(), an_offer(key="k")], **fence)
    assert (count(session, jobs_table), count(session, dedup_keys)) == (0, 0)


def test_a_token_that_the_column_cannot_hold_is_refused(session: Session) -> None:
    """64 bits, signed: a larger one would fail every batch on Postgres and lose its precision on SQLite."""
    with pytest.raises(ValueError, match="token"):
        admit(session, [an_offer()], token=2**63, process_id=PROCESS)
    assert deliver(session, an_offer(), token=2**63 - 1).claims[0].token == 2**63 - 1
    assert deliver(session, an_offer(), token=-(2**63)).claims[0].token == -(2**63)


def test_jobs_accepted_within_a_transaction_share_its_fate(session: Session) -> None:
    """The outbox and follow-ups commit with what they belong to."""
    offers = [waiting_offer(), waiting_offer(key="k")]

    def accept_and_fail() -> None:
        with session.transaction():
            admit_within(session, offers)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        accept_and_fail()
    assert (count(session, jobs_table), count(session, dedup_keys)) == (0, 0)

    with session.transaction():
        admit_within(session, offers)
    assert {state_of(session, it.message.id) for it in offers} == {"available"}


def test_an_empty_batch_is_nothing(session: Session) -> None:
    """Every function that takes a batch takes an empty one."""
    assert deliver(session).outcomes == {}
    assert settle(session, []) == set()
    assert claims.claim_due(session, queues=[], limit=5, token=TOKEN, process_id=PROCESS) == []
    assert not claims.has_suspects(session, [])
    assert claims.next_due_seconds(session, []) is None


def test_an_offer_takes_its_options_from_the_contract() -> None:
    """Nothing on the wire chooses behaviour."""
    contract = Contract(type="demo.job", queue="slow", guarantee="at_most_once", unique_for=timedelta(hours=1))
    made = offer(a_message(), contract, state=State.EXECUTING)
    assert (made.queue, made.at_most_once, made.unique_for) == ("slow", True, timedelta(hours=1))


def test_a_completed_job_keeps_the_token_that_completed_it(session: Session) -> None:
    """So that a commit whose reply was lost can be told from somebody else's."""
    claim = claimed(session)
    settle(session, [Outcome(claim.id, TOKEN, State.COMPLETED)])
    assert row_of(session, claim.id).token == TOKEN
