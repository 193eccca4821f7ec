"""Jobs as people see and steer them."""

from datetime import UTC, datetime, timedelta

import pytest
from tests.ledger.samples import (
    PROCESS,
    TOKEN,
    a_message,
    accepted,
    an_offer,
    claimed,
    deliver,
    put,
    row_of,
    state_of,
    waiting_offer,
)

from penstock.ledger import jobs
from penstock.ledger.admission import admit
from penstock.ledger.audit import list_audit
from penstock.ledger.claims import claim_due
from penstock.ledger.database import Session
from penstock.ledger.dead_letters import Selection, discard_dead, replay_dead
from penstock.ledger.rescue import rescue_lost
from penstock.ledger.settlement import Outcome, settle
from penstock.ledger.state import Reason, State

WAITING = ["scheduled", "available", "retryable"]


def test_jobs_are_listed_the_newest_first_and_page_by_page(session: Session) -> None:
    """Without payloads; by state, type, queue and fingerprint."""
    ids = [put(session, queue=f"q{n % 2}", type=f"t{n % 3}", fingerprint=f"f{n % 5}") for n in range(10)]
    done = put(session, state="completed")
    listed = jobs.list_jobs(session)
    assert [job["id"] for job in listed] == [done, *reversed(ids)]
    assert not {"payload", "result", "token"} & listed[0].keys()
    assert [job["id"] for job in jobs.list_jobs(session, state="completed")] == [done]
    assert {job["queue"] for job in jobs.list_jobs(session, queue="q1")} == {"q1"}
    assert [job["id"] for job in jobs.list_jobs(session, type="t1", queue="q1")] == [ids[7], ids[1]]
    assert [job["id"] for job in jobs.list_jobs(session, fingerprint="f3")] == [ids[8], ids[3]]

    pages, before = [], None
    while page := jobs.list_jobs(session, before=before, limit=4):
        pages += [job["id"] for job in page]
        before = page[-1]["id"]
    assert pages == [done, *reversed(ids)]


def test_whoever_asks_sees_only_their_tenant_and_the_types_that_they_may_see(session: Session) -> None:
    """`*` stands for anything, `_` for itself, and upper case is not lower case."""
    types = ["orders.ship", "orders.bill", "orders_.ship", "Orders.ship", "mails.ship"]
    ids = {name: put(session, type=name, tenant="acme") for name in types}
    put(session, type="orders.ship", tenant="other")

    def seen(*globs: str) -> set[str]:
        return {job["id"] for job in jobs.list_jobs(session, tenant="acme", type_globs=globs)}

    assert seen("orders.*") == {ids["orders.ship"], ids["orders.bill"]}
    assert seen("orders_.*", "mails.ship") == {ids["orders_.ship"], ids["mails.ship"]}
    assert seen("*") == set(ids.values())
    assert seen() == set()


def test_how_far_jobs_are_is_one_question_for_many(session: Session) -> None:
    """What the ledger does not know is left out."""
    waits, done, unknown = put(session), put(session, state="completed", attempts=1), a_message().id
    found = jobs.standings(session, [waits, done, unknown, done])
    assert {job_id: (it.state, it.attempts) for job_id, it in found.items()} == {
        waits: ("available", 0),
        done: ("completed", 1),
    }
    assert jobs.standings(session, []) == {}


def test_the_holder_of_a_key_is_found_with_its_payload(session: Session) -> None:
    """So that a conflict can be explained."""
    first = waiting_offer(b'{"n":7}', key="k")
    admit(session, [first])
    assert jobs.key_holder(session, type="demo.job", key="k") == (first.message.id, b'{"n":7}')
    assert jobs.key_holder(session, type="demo.job", key="other") is None


def test_a_job_that_was_never_seen_is_not_shown(session: Session) -> None:
    """Neither by its id nor as an alias."""
    assert jobs.show_job(session, a_message().id) is None


@pytest.mark.parametrize("state", WAITING)
def test_a_waiting_job_is_cancelled_at_once(session: Session, state: str) -> None:
    """And never runs."""
    job_id = put(session, state=state)
    assert jobs.cancel_job(session, job_id, actor="ada") == "cancelled"
    row = row_of(session, job_id)
    assert (row.state, row.reason) == ("cancelled", "cancelled")
    assert row.finished_at is not None
    assert deliver(session, an_offer(id=job_id)).claims == []


def test_an_executing_job_is_asked(session: Session) -> None:
    """Whoever runs it sees that."""
    asked, other = claimed(session), claimed(session)
    assert jobs.cancel_job(session, asked.id, actor="ada") == "requested"
    assert state_of(session, asked.id) == "executing"
    assert jobs.cancel_requested(session, [(asked.id, TOKEN), (other.id, TOKEN)]) == {asked.id}
    assert jobs.cancel_requested(session, []) == set()


@pytest.mark.parametrize("state", ["completed", "dead", "cancelled"])
def test_a_job_that_has_ended_stays_as_it_is(session: Session, state: str) -> None:
    """The caller is told how it ended."""
    job_id = put(session, state=state, finished_at=datetime.now(UTC))
    before = row_of(session, job_id)
    assert jobs.cancel_job(session, job_id, actor="ada") == state
    assert not jobs.hurry_job(session, job_id, actor="ada")
    assert row_of(session, job_id) == before


def test_cancelling_twice_is_cancelling_once(session: Session) -> None:
    """Also for a job that was never seen."""
    for job_id in (accepted(session), a_message().id):
        assert [jobs.cancel_job(session, job_id, actor="ada") for _ in range(2)] == ["cancelled", "cancelled"]


def test_cancelling_an_alias_cancels_its_job(session: Session) -> None:
    """Either id stands for the one job; no tombstone hides it."""
    first, second = waiting_offer(key="k"), waiting_offer(key="k")
    admit(session, [first, second])
    assert jobs.cancel_job(session, second.message.id, actor="ada") == "cancelled"
    assert state_of(session, first.message.id) == "cancelled"
    assert state_of(session, second.message.id) == "unseen"


def test_hurrying_an_alias_hurries_its_job(session: Session) -> None:
    """Either id stands for the one job."""
    due = datetime.now(UTC) + timedelta(days=1)
    first, second = waiting_offer(key="k", due_at=due), waiting_offer(key="k", due_at=due)
    admit(session, [first, second])
    assert jobs.hurry_job(session, second.message.id, actor="ada")
    assert state_of(session, first.message.id) == "available"


@pytest.mark.parametrize("state", WAITING)
def test_a_hurried_job_is_due_now(session: Session, state: str) -> None:
    """Also one that is on its way: a duplicate does no harm."""
    due = datetime.now(UTC) + timedelta(days=1)
    job_id = put(session, state=state, due_at=due, dispatched_at=datetime.now(UTC))
    assert jobs.hurry_job(session, job_id, actor="ada")
    assert [claim.id for claim in claim_due(session, queues=["demo"], limit=1, token=TOKEN, process_id=PROCESS)] == [
        job_id
    ]


def test_what_people_do_is_written_down(session: Session) -> None:
    """With who did it, also where it changed nothing."""
    job_id = accepted(session)
    jobs.hurry_job(session, job_id, actor="ada")
    jobs.cancel_job(session, job_id, actor="bob")
    jobs.cancel_job(session, job_id, actor="eve")
    entries = [(entry["actor"], entry["action"], entry["target"]) for entry in list_audit(session)]
    assert entries == [("eve", "cancel", job_id), ("bob", "cancel", job_id), ("ada", "retry now", job_id)]


def test_the_states_add_up_to_what_was_accepted(session: Session) -> None:
    """At every moment: accepted = completed + dead + cancelled + live (an alias is no job of its own)."""
    accepted_jobs = 0

    def balance() -> None:
        counts = jobs.count_states(session)
        assert sum(counts.values()) == accepted_jobs
        assert counts.keys() <= set(State)

    def accept(*offers: object) -> None:
        nonlocal accepted_jobs
        admission = deliver(session, *offers)  # type: ignore[arg-type]
        accepted_jobs += len(admission.outcomes) - len(admission.first)
        balance()

    accept()
    accept(an_offer(), an_offer(), an_offer(key="k"), an_offer(key="k"), an_offer(b"{}", key="k"))
    accept(waiting_offer(), waiting_offer(due_at=datetime.now(UTC) + timedelta(days=1)))
    claims = [job["id"] for job in jobs.list_jobs(session, state="executing")]
    for outcome in (
        Outcome(claims[0], TOKEN, State.COMPLETED),
        Outcome(claims[1], TOKEN, State.DEAD, Reason.PERMANENT),
        Outcome(claims[2], TOKEN, State.RETRYABLE),
    ):
        settle(session, [outcome])
        balance()
    for change in (
        lambda: jobs.cancel_job(session, claims[2], actor="ada"),
        lambda: claim_due(session, queues=["demo"], limit=9, token=TOKEN, process_id=PROCESS),
        lambda: rescue_lost(session, process_id=PROCESS),
        lambda: discard_dead(session, selection=Selection(reason="key_conflict"), actor="ada"),
        lambda: replay_dead(session, selection=Selection(), actor="ada"),
    ):
        change()
        balance()


def test_the_age_of_the_oldest_due_job_is_told(session: Session) -> None:
    """What an alert watches."""
    assert jobs.oldest_due_seconds(session) == 0
    put(session, due_at=datetime.now(UTC) + timedelta(hours=1))
    put(session, state="completed", due_at=datetime.now(UTC) - timedelta(days=1))
    assert jobs.oldest_due_seconds(session) == 0
    put(session, state="retryable", due_at=datetime.now(UTC) - timedelta(minutes=10))
    assert 500 < jobs.oldest_due_seconds(session) < 900
