"""Many at once: nothing twice, nothing lost, and no deadlock that anybody hears of."""

import random
import threading
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select
from tests.ledger.crowd import at_once, each_at_once
from tests.ledger.samples import (
    OTHER_PROCESS,
    OTHER_TOKEN,
    PROCESS,
    TOKEN,
    a_row,
    accepted,
    an_offer,
    claimed,
    count,
    deliver,
    expire_keys,
    put,
    row_of,
    state_of,
    waiting_offer,
)
from tests.waiting import until

from penstock.ledger import dead_letters, jobs
from penstock.ledger.admission import Admission, Admitted, Offer, admit
from penstock.ledger.audit import list_audit
from penstock.ledger.claims import claim_due
from penstock.ledger.completion import Fenced, complete_within
from penstock.ledger.database import Ledger, Session
from penstock.ledger.dead_letters import Selection, replay_dead
from penstock.ledger.leases import take_lease
from penstock.ledger.rescue import rescue_lost
from penstock.ledger.settlement import Outcome, settle
from penstock.ledger.state import State
from penstock.ledger.tables import aliases, dedup_keys
from penstock.ledger.tables import jobs as jobs_table
from penstock.schemas.identifiers import new_job_id

ROUNDS = 6
BATCH = 40


@pytest.mark.parametrize("threads", [2, 8])
def test_overlapping_batches_claim_each_id_once_and_make_one_job_of_each_key(ledger: Ledger, threads: int) -> None:
    """The same deliveries, in other orders and mixtures, reach several consumers at once."""
    draw = random.Random(threads)
    pool = [an_offer(key=f"k{n % 30}" if n % 3 else None) for n in range(120)]
    batches = [[draw.sample(pool, BATCH) for _ in range(ROUNDS)] for _ in range(threads)]

    def consume(session: Session, number: int) -> list[Admission]:
        process_id = new_job_id()
        return [
            deliver(session, *batch, token=number * 1000 + index, process_id=process_id)
            for index, batch in enumerate(batches[number])
        ]

    answers = [answer for thread in each_at_once(ledger, consume, range(threads)) for answer in thread]

    claims = Counter(claim.id for answer in answers for claim in answer.claims)
    assert set(claims.values()) == {1}
    with ledger.session() as session:
        rows = session.connection.execute(select(jobs_table)).all()
        executing = {row.id for row in rows}
        assert executing == set(claims)
        assert all(row.state == "executing" for row in rows)
        keys = Counter(row.dedup_key for row in rows if row.dedup_key is not None)
        assert set(keys.values()) == {1}
        seen = {offer.message.id for batch in batches for part in batch for offer in part}
        absorbed = set(session.connection.execute(select(aliases.c.id)).scalars())
        assert executing | absorbed == seen
        assert executing.isdisjoint(absorbed)
        holders = session.connection.execute(select(dedup_keys.c.key, dedup_keys.c.job_id)).all()
        assert {row.job_id for row in holders} == {row.id for row in rows if row.dedup_key is not None}


@pytest.mark.parametrize("unique_for", [timedelta(days=7), timedelta(0)])
@pytest.mark.parametrize("before", ["nothing", "cancelled", "expired"])
def test_one_key_from_eight_doors_at_once_is_one_job(ledger: Ledger, before: str, unique_for: timedelta) -> None:
    """Fresh, taken over from a cancelled job, or free again because its time is over."""
    with ledger.session() as session:
        for number in range(ROUNDS):
            if before != "nothing":
                first = accepted(session, key=f"k{number}")
                jobs.cancel_job(session, first, actor="ada")
            if before == "expired":
                session.connection.execute(jobs_table.update().values(state="completed"))
                expire_keys(session)

    def publish(session: Session, number: int) -> list[Admitted]:
        outcomes = []
        for index in range(ROUNDS):
            offer = an_offer(key=f"k{index}", unique_for=unique_for)
            answer = deliver(session, offer, token=number * 1000 + index, process_id=new_job_id())
            outcomes.append(answer.outcomes[offer.message.id])
        return outcomes

    answers = each_at_once(ledger, publish, range(8))

    for index in range(ROUNDS):
        verdicts = Counter(answer[index] for answer in answers)
        assert verdicts == {Admitted.CLAIMED: 1, Admitted.DUPLICATE: 7}


def test_one_key_with_other_payloads_from_eight_doors_is_one_job_and_seven_conflicts(ledger: Ledger) -> None:
    """Nothing runs twice, nothing is hidden."""

    def publish(session: Session, number: int) -> Admitted:
        offer = an_offer(b'{"n":%d}' % number, key="k")
        answer = deliver(session, offer, token=number, process_id=new_job_id())
        return answer.outcomes[offer.message.id]

    assert Counter(each_at_once(ledger, publish, range(8))) == {Admitted.CLAIMED: 1, Admitted.CONFLICT: 7}


def test_one_id_under_two_keys_at_once_is_one_job_and_leaves_no_key_behind(ledger: Ledger) -> None:
    """The loser gives back the key that it had reserved."""
    for _ in range(ROUNDS):
        job_id = new_job_id()

        def publish(session: Session, number: int, job_id: str = job_id) -> Admitted:
            offer = an_offer(id=job_id, key=f"{job_id} {number}")
            return deliver(session, offer, token=number, process_id=new_job_id()).outcomes[job_id]

        assert Counter(each_at_once(ledger, publish, range(4))) == {Admitted.CLAIMED: 1, Admitted.MISMATCH: 3}
    with ledger.session() as session:
        assert (count(session, jobs_table), count(session, dedup_keys)) == (ROUNDS, ROUNDS)


def test_eight_workers_never_claim_a_job_twice(ledger: Ledger) -> None:
    """Until nothing is left."""
    with ledger.session() as session:
        session.connection.execute(insert(jobs_table), [a_row() for _ in range(400)])

    def work(session: Session, number: int) -> list[str]:
        found: list[str] = []
        while claims := claim_due(session, queues=["demo"], limit=7, token=number, process_id=PROCESS):
            found += [claim.id for claim in claims]
        return found

    found = [job_id for thread in each_at_once(ledger, work, range(8)) for job_id in thread]
    assert len(found) == len(set(found)) == 400


def test_claims_by_delivery_and_straight_from_the_ledger_do_not_meet(ledger: Ledger) -> None:
    """The same waiting rows, by both ways in."""
    with ledger.session() as session:
        ids = [put(session) for _ in range(60)]

    def by_delivery(session: Session) -> list[str]:
        return [claim.id for job_id in ids for claim in deliver(session, an_offer(id=job_id), token=1).claims]

    def straight(session: Session) -> list[str]:
        found: list[str] = []
        while claims := claim_due(session, queues=["demo"], limit=3, token=2, process_id=OTHER_PROCESS):
            found += [claim.id for claim in claims]
        return found

    first, second = at_once(ledger, by_delivery, straight)
    assert sorted(first + second) == sorted(ids)


@pytest.mark.parametrize("outcome", [{}, {"result": b"1"}])
def test_a_settle_that_races_a_rescue_wins_or_is_fenced(ledger: Ledger, outcome: dict[str, Any]) -> None:
    """One of the two has the job, and both know which."""
    with ledger.session() as session:
        for number in range(10):
            batch = [claimed(session, token=number).id for _ in range(20)]

            def finish(session: Session, batch: list[str] = batch, token: int = number) -> set[str]:
                return settle(session, [Outcome(job_id, token, State.COMPLETED, **outcome) for job_id in batch])

            def rescue(session: Session) -> set[str]:
                return {job.job_id for job in rescue_lost(session, process_id=PROCESS)}

            fenced, rescued = at_once(ledger, finish, rescue)
            assert fenced == rescued
            assert {state_of(session, job_id) for job_id in fenced} <= {"available"}
            assert {state_of(session, job_id) for job_id in set(batch) - fenced} <= {"completed"}
            claim_due(session, queues=["demo"], limit=99, token=-1, process_id=OTHER_PROCESS)


def test_a_handlers_commit_that_races_a_rescue_wins_or_rolls_back(ledger: Ledger) -> None:
    """Never both."""
    engine = ledger.engine(purpose="handlers")
    with ledger.session() as session:
        for number in range(10):
            job_id = claimed(session, token=number).id

            def finish(_: Session, job_id: str = job_id, token: int = number) -> bool:
                try:
                    with engine.begin() as connection:
                        complete_within(connection, job_id=job_id, token=token)
                except Fenced:
                    return False
                return True

            def rescue(session: Session) -> bool:
                return bool(rescue_lost(session, process_id=PROCESS))

            completed, rescued = at_once(ledger, finish, rescue)
            assert completed is not rescued
            assert state_of(session, job_id) == ("completed" if completed else "available")
            jobs.cancel_job(session, job_id, actor="ada")
    engine.dispose()


def test_a_rescue_waits_for_a_handlers_open_transaction_and_then_leaves_the_job_alone(postgres: Ledger) -> None:
    """The row is locked: whoever commits first is obeyed."""
    engine = postgres.engine(purpose="handlers")
    with postgres.session() as session, postgres.session() as watcher, engine.connect() as connection:
        job_id = claimed(session).id
        transaction = connection.begin()
        complete_within(connection, job_id=job_id, token=TOKEN)
        rescued: list[object] = []
        rescuer = threading.Thread(target=lambda: rescued.extend(rescue_lost(session, process_id=PROCESS)))
        rescuer.start()
        waiting = (
            "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        until(lambda: watcher.connection.exec_driver_sql(waiting).scalar(), what="the rescuer to wait")
        transaction.commit()
        rescuer.join(timeout=30)
        assert rescued == []
        assert state_of(watcher, job_id) == "completed"
    engine.dispose()


def test_two_replays_at_once_share_the_work_and_replay_each_job_once(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clicked twice, by two people: both stand in the audit, with what they did."""
    monkeypatch.setattr(dead_letters, "REPLAY_BATCH_JOBS", 15)
    with ledger.session() as session:
        rows = [a_row(state="dead", reason="attempts") for _ in range(200)]
        session.connection.execute(insert(jobs_table), rows)

        def replay(session: Session, number: int) -> list[str]:
            return replay_dead(session, selection=Selection(), actor=f"person {number}")

        answers = each_at_once(ledger, replay, range(2))

        replayed = [job_id for answer in answers for job_id in answer]
        assert sorted(replayed) == sorted(row["id"] for row in rows)
        assert {row_of(session, job_id).dispatch_number for job_id in replayed} == {1}
        written = Counter(
            entry["actor"] for entry in list_audit(session, limit=1000) for _ in entry["target"].split(", ")
        )
        assert written == {f"person {number}": len(answer) for number, answer in enumerate(answers) if answer}


def test_a_cancel_that_races_the_arrival_of_its_job_is_not_forgotten(ledger: Ledger) -> None:
    """Tombstone first, or job first: it does not run on as if nobody had asked."""
    with ledger.session() as session:
        for number in range(10):
            offer = an_offer()
            job_id = offer.message.id

            def arrive(session: Session, offer: Offer = offer, token: int = number) -> str:
                return deliver(session, offer, token=token).outcomes[offer.message.id].value

            def cancel(session: Session, job_id: str = job_id) -> str:
                return jobs.cancel_job(session, job_id, actor="ada")

            arrived, cancelled = at_once(ledger, arrive, cancel)
            assert (arrived, cancelled) in {("claimed", "requested"), ("duplicate", "cancelled")}
            assert (row_of(session, job_id).cancel_requested_at is not None) == (cancelled == "requested")


def test_a_cancel_that_races_a_release_is_not_forgotten(ledger: Ledger) -> None:
    """Asked while it executes, or cancelled while it waits; either way it does not run again."""
    with ledger.session() as session:
        for number in range(10):
            job_id = claimed(session, token=number).id

            def release(session: Session, job_id: str = job_id, token: int = number) -> str:
                settle(session, [Outcome(job_id, token, State.AVAILABLE, counts=False)])
                return ""

            def cancel(session: Session, job_id: str = job_id) -> str:
                return jobs.cancel_job(session, job_id, actor="ada")

            _, answer = at_once(ledger, release, cancel)
            assert answer in ("requested", "cancelled")
            assert state_of(session, job_id) == "cancelled"


def test_one_of_eight_gets_the_lease(ledger: Ledger) -> None:
    """The first time, when it does not exist, too."""

    def take(session: Session, _: int) -> bool:
        return take_lease(session, name="dispatcher", holder=new_job_id(), seconds=60)

    assert sum(each_at_once(ledger, take, range(8))) == 1
    assert sum(each_at_once(ledger, take, range(8))) == 0


def test_accepting_while_claiming_loses_nothing(ledger: Ledger) -> None:
    """Two write, two claim; in the end every job has been claimed once."""
    done = threading.Event()

    def write(session: Session, number: int) -> list[str]:
        ids = []
        for index in range(40):
            batch = [waiting_offer(key=f"{number} {index} {n}" if n % 2 else None) for n in range(5)]
            admit(session, batch)
            ids += [offer.message.id for offer in batch]
        if number == 1:
            done.set()
        return ids

    def work(session: Session, number: int) -> list[str]:
        found: list[str] = []
        while True:
            finished = done.is_set()
            claims = claim_due(session, queues=["demo"], limit=9, token=number, process_id=PROCESS)
            found += [claim.id for claim in claims]
            if not claims and finished:
                return found

    answers = each_at_once(
        ledger, lambda session, number: write(session, number) if number < 2 else work(session, number), range(4)
    )
    with ledger.session() as session:
        rest = claim_due(session, queues=["demo"], limit=999, token=OTHER_TOKEN, process_id=PROCESS)
    found = answers[2] + answers[3] + [claim.id for claim in rest]
    assert sorted(found) == sorted(answers[0] + answers[1])
