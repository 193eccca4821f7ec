"""The settler: outcomes go out together, and one bad one stops nobody."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.ledger.samples import an_offer, row_of, state_of
from tests.waiting import until
from tests.workers.settling import Settling, completed

from penstock.ledger.database import Ledger, Session
from penstock.ledger.settlement import Failure, Outcome
from penstock.ledger.state import State


@pytest.fixture
def ledger(ledger_url: str) -> Ledger:
    """A migrated, empty ledger."""
    return Ledger(ledger_url)


@pytest.fixture
def session(ledger: Ledger) -> Iterator[Session]:
    """A session of the test's own."""
    with ledger.session() as session:
        yield session


def test_outcomes_that_wait_go_out_in_one_batch(ledger: Ledger, session: Session) -> None:
    """One commit for all that gathered."""
    settling = Settling(ledger)
    claims = [settling.claim(session) for _ in range(5)]
    for claim in claims:
        settling.settler.put(completed(claim))
    settling.settler.start()
    assert settling.settler.stop(10)
    assert settling.batches == [([claim.id for claim in claims], set())]
    assert settling.holding.claims == {}


@pytest.mark.parametrize(
    "bad",
    [{"result": b"\xff\xfe"}, {"result": b"a\x1fb"}, {"result": b"\0"}, {"follow_ups": (an_offer(key="\x1e"),)}],
    ids=["not UTF-8", "a separator", "NUL", "a bad follow-up"],
)
def test_an_outcome_that_cannot_be_written_kills_only_its_own_job(
    ledger: Ledger, session: Session, bad: dict[str, Any]
) -> None:
    """Its neighbours in the batch are settled, and so are those that come after it."""
    settling = Settling(ledger)
    claims = [settling.claim(session) for _ in range(5)]
    for index, claim in enumerate(claims):
        settling.settler.put(completed(claim, **(bad if index == 2 else {})))
    settling.settler.start()
    until(lambda: not settling.holding.claims, what="the batch to be settled")
    later = settling.claim(session)
    settling.settler.put(completed(later))
    assert settling.settler.stop(10)
    assert [state_of(session, claim.id) for claim in claims] == [
        "completed",
        "completed",
        "dead",
        "completed",
        "completed",
    ]
    assert row_of(session, claims[2].id).error.startswith("RefusedByLedger")
    assert [settling.states[claim.id] for claim in claims] == [state_of(session, claim.id) for claim in claims]
    assert state_of(session, later.id) == "completed"


def test_an_outcome_that_is_refused_twice_is_given_up(ledger: Ledger, session: Session) -> None:
    """Not even the note that it was refused can be written: the self-check will hand the job back."""
    settling = Settling(ledger)
    claim = settling.claim(session)
    settling.settler.put(Outcome("no id", claim.token, State.DEAD, failure=Failure("failed")))
    settling.settler.put(completed(claim))
    settling.settler.start()
    assert settling.settler.stop(10)
    assert state_of(session, claim.id) == "completed"


def test_settling_goes_on_when_the_figures_cannot_be_kept(ledger: Ledger, session: Session) -> None:
    """A full disk under the metrics must not stop outcomes."""

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    settling = Settling(ledger, on_settled=fail)
    settling.settler.start()
    for _ in range(2):
        claim = settling.claim(session)
        settling.settler.put(completed(claim))
        until(lambda: not settling.holding.claims, what="the job to be settled")
        assert state_of(session, claim.id) == "completed"
    assert settling.settler.stop(10)


def test_a_fenced_outcome_is_dropped_and_reported(ledger: Ledger, session: Session) -> None:
    """Somebody else owns the job by now."""
    settling = Settling(ledger)
    claim = settling.claim(session)
    settling.settler.put(Outcome(claim.id, claim.token + 1, State.COMPLETED))
    settling.settler.start()
    assert settling.settler.stop(10)
    assert settling.batches == [([claim.id], {claim.id})]
    assert state_of(session, claim.id) == "executing"


def test_what_an_outage_outlasts_is_neither_counted_nor_called_settled(tmp_path: Any) -> None:
    """A process that ends before the ledger is back still holds these jobs."""
    settling = Settling(Ledger(f"sqlite:///{tmp_path}/no/such/folder/ledger.db"))
    outcome = Outcome("00000000-0000-7000-8000-000000000001", 1, State.COMPLETED)
    settling.settler.start()
    settling.settler.put(outcome)
    assert not settling.settler.stop(0.1)
    until(lambda: not settling.settler._thread.is_alive(), what="the thread to give up")
    assert settling.batches == []
