"""Two publishes with one key are one job: who has the key, for how long, and what becomes of the others."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select
from tests.ledger.samples import (
    OTHER_PROCESS,
    OTHER_TOKEN,
    TOKEN,
    accepted,
    an_offer,
    change,
    claimed,
    count,
    deliver,
    expire_keys,
    row_of,
    state_of,
    waiting_offer,
)

from penstock.ledger import jobs
from penstock.ledger.admission import Admitted, Offer, admit
from penstock.ledger.database import Session
from penstock.ledger.dead_letters import Selection, discard_dead, replay_dead
from penstock.ledger.retention import prune_keys
from penstock.ledger.settlement import Outcome, settle
from penstock.ledger.state import Reason, State
from penstock.ledger.tables import aliases, dedup_keys
from penstock.ledger.tables import jobs as jobs_table

LIVE = [State.AVAILABLE, State.SCHEDULED, State.RETRYABLE, State.EXECUTING]


def test_the_second_publish_is_absorbed_and_answers_with_the_first(session: Session) -> None:
    """An alias: one job, two ids."""
    first = claimed(session, key="k")
    second = an_offer(key="k")

    admission = deliver(session, second, token=OTHER_TOKEN)

    assert admission.outcomes == {second.message.id: Admitted.DUPLICATE}
    assert admission.first == {second.message.id: first.id}
    assert count(session, jobs_table) == 1
    shown = jobs.show_job(session, second.message.id)
    assert shown is not None
    assert (shown["id"], shown["alias"]) == (first.id, second.message.id)


def test_an_alias_that_is_redelivered_stays_an_alias(session: Session) -> None:
    """Once absorbed it is answered for, even when the key is free again."""
    first = claimed(session, key="k", unique_for=timedelta(0))
    second = an_offer(key="k", unique_for=timedelta(0))
    deliver(session, second)
    settle(session, [Outcome(first.id, TOKEN, State.COMPLETED)])
    for _ in range(2):
        again = deliver(session, second)
        assert again.outcomes == {second.message.id: Admitted.DUPLICATE}
        assert again.first == {second.message.id: first.id}
        expire_keys(session)
        prune_keys(session)
    assert count(session, jobs_table) == 1


@pytest.mark.parametrize("state", [*LIVE, State.COMPLETED, State.DEAD])
def test_a_duplicate_attaches_to_the_job_in_every_state_but_cancelled(session: Session, state: State) -> None:
    """Also to a dead one: it is replayed, not run past."""
    first = claimed(session, key="k")
    change(session, first.id, state=state)
    second = an_offer(key="k")
    assert deliver(session, second, token=OTHER_TOKEN).first == {second.message.id: first.id}


def test_a_cancelled_job_gives_its_key_to_the_next(session: Session) -> None:
    """And the third attaches to that one, not to the cancelled."""
    first = accepted(session, key="k")
    jobs.cancel_job(session, first, actor="ada")
    second, third = an_offer(b'{"n":2}', key="k"), an_offer(b'{"n":2}', key="k")

    assert [claim.id for claim in deliver(session, second).claims] == [second.message.id]
    assert deliver(session, third).first == {third.message.id: second.message.id}
    assert _holder(session, "k") == second.message.id


def test_a_discarded_job_gives_its_key_to_the_next(session: Session) -> None:
    """It is cancelled, by an operator."""
    first = claimed(session, key="k")
    settle(session, [Outcome(first.id, TOKEN, State.DEAD, Reason.PERMANENT)])
    discard_dead(session, selection=Selection(ids=(first.id,)), actor="ada")
    second = an_offer(key="k")
    assert [claim.id for claim in deliver(session, second).claims] == [second.message.id]


def test_another_payload_under_the_same_key_is_dead_and_visible(session: Session) -> None:
    """A conflict is recorded, never run, and does not touch the first one."""
    first = claimed(session, body=b'{"n":1}', key="k")
    second = an_offer(b'{"n":2}', key="k")

    for _ in range(2):  # its redelivery changes nothing
        outcomes = deliver(session, second, token=OTHER_TOKEN).outcomes
        row = row_of(session, second.message.id)
        assert (row.state, row.reason, row.payload) == ("dead", "key_conflict", b'{"n":2}')
        assert row.finished_at is not None
        assert state_of(session, first.id) == "executing"
        assert _holder(session, "k") == first.id
    assert outcomes == {second.message.id: Admitted.DUPLICATE}


def test_a_conflict_says_so_when_it_is_recorded(session: Session) -> None:
    """So that the caller can answer 409, or count it."""
    claimed(session, body=b'{"n":1}', key="k")
    for second in (an_offer(b'{"n":2}', key="k"), waiting_offer(b'{"n":3}', key="k")):
        admission = deliver(session, second)
        assert admission.outcomes == {second.message.id: Admitted.CONFLICT}
        assert admission.claims == []


def test_a_key_belongs_to_its_type(session: Session) -> None:
    """Two types may use the same key."""
    assert len(deliver(session, an_offer(key="k", type="demo.a"), an_offer(key="k", type="demo.b")).claims) == 2


@pytest.mark.parametrize("unique_for", [timedelta(days=7), timedelta(0)])
@pytest.mark.parametrize("taken_over", [False, True])
def test_the_same_key_twice_in_one_batch_is_one_job(session: Session, taken_over: bool, unique_for: timedelta) -> None:
    """The first id wins, the others are its aliases; also where the key is taken from a cancelled job."""
    if taken_over:
        jobs.cancel_job(session, accepted(session, key="k"), actor="ada")
    offers = [an_offer(key="k", unique_for=unique_for) for _ in range(4)]
    other = an_offer(b'{"n":2}', key="k", unique_for=unique_for)

    admission = deliver(session, *reversed(offers), other)

    [claim] = admission.claims
    assert claim.id == offers[0].message.id
    assert admission.first == {offer.message.id: claim.id for offer in offers[1:]}
    assert admission.outcomes[other.message.id] is Admitted.CONFLICT
    assert _holder(session, "k") == claim.id


@pytest.mark.parametrize("state", [*LIVE, State.COMPLETED, State.DEAD])
@pytest.mark.parametrize("expired", [False, True])
def test_a_key_is_free_again_when_it_has_expired_and_its_job_has_ended(
    session: Session, state: State, expired: bool
) -> None:
    """Both: a job that waits for longer than its key lives still has it."""
    first = claimed(session, key="k")
    change(session, first.id, state=state)
    if expired:
        expire_keys(session)
    second = an_offer(b'{"n":2}', key="k")

    admission = deliver(session, second, token=OTHER_TOKEN)

    free = expired and state not in LIVE
    assert admission.outcomes[second.message.id] is (Admitted.CLAIMED if free else Admitted.CONFLICT)
    assert _holder(session, "k") == (second.message.id if free else first.id)


def test_a_redelivery_of_the_job_itself_does_not_bring_its_key_back(session: Session) -> None:
    """Its key has gone to another job by now."""
    first = an_offer(key="k")
    deliver(session, first)
    settle(session, [Outcome(first.message.id, TOKEN, State.COMPLETED)])
    expire_keys(session)
    second = an_offer(key="k")
    deliver(session, second)

    assert deliver(session, first).outcomes == {first.message.id: Admitted.DUPLICATE}
    assert _holder(session, "k") == second.message.id


def test_a_job_that_retries_is_claimed_by_its_own_redelivery(session: Session) -> None:
    """The key is its own."""
    job_id = accepted(session, key="k")
    assert [claim.key for claim in deliver(session, an_offer(id=job_id, key="k")).claims] == ["k"]


def test_a_dead_job_that_is_replayed_runs_though_its_key_has_gone_to_another(session: Session) -> None:
    """Dead and expired: the next took the key. A replay is asked for by hand."""
    first = an_offer(key="k")
    deliver(session, first)
    settle(session, [Outcome(first.message.id, TOKEN, State.DEAD, Reason.ATTEMPTS)])
    expire_keys(session)
    deliver(session, an_offer(key="k"))
    replay_dead(session, selection=Selection(ids=(first.message.id,)), actor="ada")
    assert len(deliver(session, first, token=OTHER_TOKEN).claims) == 1


def test_a_key_whose_job_is_gone_still_absorbs_until_it_expires(session: Session) -> None:
    """A key may live longer than the memory of finished jobs."""
    first = claimed(session, key="k")
    session.connection.execute(jobs_table.delete())
    second = an_offer(key="k")
    assert deliver(session, second).first == {second.message.id: first.id}
    expire_keys(session)
    third = an_offer(key="k")
    assert deliver(session, third).outcomes == {third.message.id: Admitted.CLAIMED}


def test_keys_of_a_mixed_batch_do_not_disturb_jobs_without(session: Session) -> None:
    """New, known, aliased, conflicting and unkeyed jobs in one batch."""
    first = claimed(session, key="taken")
    batch: list[Offer] = [
        an_offer(),
        an_offer(key="taken"),
        an_offer(b'{"n":9}', key="taken"),
        an_offer(key="new"),
        an_offer(id=first.id, key="taken"),
    ]
    outcomes = deliver(session, *batch, token=OTHER_TOKEN, process_id=OTHER_PROCESS).outcomes
    assert [outcomes[it.message.id].value for it in batch] == [
        "claimed",
        "duplicate",
        "conflict",
        "claimed",
        "duplicate",
    ]
    assert count(session, aliases) == 1


def test_hostile_keys_are_told_apart(session: Session) -> None:
    """Case, spaces, quotes, commas, braces and characters of other planes are just characters."""
    keys = [
        "K",
        "k",
        " k",
        "k ",
        "a,b",
        "{a}",
        '"',
        "'",
        "\\",
        "NULL",
        "null",
        "%s",
        ":k",
        "\u00e9",
        "e\u0301",
        "🦀",
        "🦀🦀",
    ]
    assert len(deliver(session, *[an_offer(key=key) for key in keys]).claims) == len(keys)
    stored = session.connection.execute(select(dedup_keys.c.key)).scalars()
    assert sorted(stored) == sorted(keys)


def _holder(session: Session, key: str) -> Any:
    return session.connection.execute(select(dedup_keys.c.job_id).where(dedup_keys.c.key == key)).scalar_one()


def test_accepting_without_a_broker_knows_the_same_keys(session: Session) -> None:
    """The gateway and the outbox go through the same door."""
    first, second = waiting_offer(key="k"), waiting_offer(key="k")
    assert admit(session, [first]).outcomes == {first.message.id: Admitted.ABSORBED}
    assert admit(session, [second]).first == {second.message.id: first.message.id}
