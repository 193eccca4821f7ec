"""Due rows on their way to the broker: selected, marked, suspected lost, and sent again."""

from datetime import UTC, datetime, timedelta

import pytest
from tests.ledger.samples import PROCESS, TOKEN, accepted, an_offer, change, claimed, deliver, put, row_of

from penstock.ledger import dispatches
from penstock.ledger.claims import claim_due
from penstock.ledger.database import Session
from penstock.ledger.settlement import Outcome, settle
from penstock.ledger.state import State


def test_due_rows_are_selected_the_longest_due_first(session: Session) -> None:
    """Of this queue, up to the limit, without suspects, and with everything that a message needs."""
    ids = [put(session, due_at=datetime.now(UTC) - timedelta(minutes=minutes)) for minutes in (1, 9, 5)]
    put(session, queue="other")
    put(session, suspect=True)
    put(session, due_at=datetime.now(UTC) + timedelta(hours=1))
    claimed(session)
    found = dispatches.select_due(session, queue="demo", limit=2)
    assert [due.message.id for due in found] == [ids[1], ids[2]]
    assert {(due.queue, due.state, due.dispatch_number, due.message.body) for due in found} == {
        ("demo", "available", 0, b'{"n":1}')
    }


def test_a_marked_row_is_not_selected_again(session: Session) -> None:
    """Until it is suspected lost."""
    job_id = accepted(session)
    due = dispatches.select_due(session, queue="demo", limit=9)
    assert dispatches.mark_dispatched(session, due) == 1
    assert dispatches.select_due(session, queue="demo", limit=9) == []
    assert dispatches.count_dispatched(session, "demo") == 1
    assert dispatches.count_dispatched(session, "other") == 0
    assert dispatches.dispatched_queues(session) == ["demo"]
    assert claim_due(session, queues=["demo"], limit=9, token=TOKEN, process_id=PROCESS) == []
    row = row_of(session, job_id)
    assert row.dispatched_at is not None
    assert row.dispatch_number == 1


def test_a_late_mark_leaves_a_row_alone_that_has_moved_on(session: Session) -> None:
    """Claimed, failed and due again meanwhile: the mark must not hide its retry."""
    moved, still, gone = (accepted(session) for _ in range(3))
    due = dispatches.select_due(session, queue="demo", limit=9)
    deliver(session, an_offer(id=moved), an_offer(id=gone))
    settle(session, [Outcome(moved, TOKEN, State.AVAILABLE, counts=False), Outcome(gone, TOKEN, State.COMPLETED)])

    assert dispatches.mark_dispatched(session, due) == 1

    assert row_of(session, still).dispatched_at is not None
    assert row_of(session, moved).dispatched_at is None
    assert [it.message.id for it in dispatches.select_due(session, queue="demo", limit=9)] == [moved]


def test_marking_nothing_is_nothing(session: Session) -> None:
    """An empty batch."""
    assert dispatches.mark_dispatched(session, []) == 0


def test_a_dispatched_row_is_claimed_by_its_delivery(session: Session) -> None:
    """And no longer counts as on its way."""
    job_id = accepted(session)
    dispatches.mark_dispatched(session, dispatches.select_due(session, queue="demo", limit=9))
    assert len(deliver(session, an_offer(id=job_id)).claims) == 1
    assert dispatches.count_dispatched(session, "demo") == 0
    row = row_of(session, job_id)
    assert (row.dispatched_at, row.dispatch_number) == (None, 2)


def test_what_an_empty_queue_does_not_hold_is_sent_again(session: Session) -> None:
    """Only what was dispatched before the queue was seen empty."""
    old, fresh, other = accepted(session), accepted(session), accepted(session, queue="other")
    for queue in ("demo", "other"):
        dispatches.mark_dispatched(session, dispatches.select_due(session, queue=queue, limit=9))
    for job_id in (old, other):
        change(session, job_id, dispatched_at=datetime.now(UTC) - timedelta(seconds=60))

    assert dispatches.suspect_lost(session, queue="demo", older_seconds=30) == 1

    assert [due.message.id for due in dispatches.select_due(session, queue="demo", limit=9)] == [old]
    assert dispatches.select_due(session, queue="other", limit=9) == []
    assert row_of(session, fresh).dispatched_at is not None


@pytest.mark.parametrize(
    ("dispatches_before", "seconds"), [(1, 60), (2, 120), (3, 240), (6, 1920), (7, 3840), (8, 3840), (1000, 3840)]
)
def test_an_overdue_row_is_sent_again_at_growing_intervals(
    session: Session, dispatches_before: int, seconds: int
) -> None:
    """A minute, two, four, up to about an hour."""
    young, old = (
        put(
            session,
            dispatched_at=datetime.now(UTC) - timedelta(seconds=seconds * factor),
            dispatch_number=dispatches_before,
        )
        for factor in (0.6, 1.4)
    )
    assert dispatches.suspect_overdue(session) == 1
    assert [due.message.id for due in dispatches.select_due(session, queue="demo", limit=9)] == [old]
    assert row_of(session, young).dispatched_at is not None


def test_after_the_loss_of_the_broker_every_row_is_sent_again(session: Session) -> None:
    """Of all queues; what executes or has ended is left alone."""
    ids = {put(session, queue=queue, dispatched_at=datetime.now(UTC)) for queue in ("a", "b")}
    executing = put(session, state="executing", dispatched_at=datetime.now(UTC))
    assert dispatches.unmark_all(session) == 2
    found = {due.message.id for queue in ("a", "b") for due in dispatches.select_due(session, queue=queue, limit=9)}
    assert found == ids
    assert row_of(session, executing).dispatched_at is not None


def test_queues_with_due_rows_are_known_with_their_age(session: Session) -> None:
    """What an alert watches; the dispatcher looks at the same, and at what has suspects only."""
    assert dispatches.due_queues(session) == []
    for minutes in (1, 10):
        put(session, queue="a", due_at=datetime.now(UTC) - timedelta(minutes=minutes))
    put(session, queue="b", due_at=datetime.now(UTC) - timedelta(minutes=5))
    put(session, queue="c", due_at=datetime.now(UTC) + timedelta(minutes=5))
    put(session, queue="d", dispatched_at=datetime.now(UTC))
    put(session, queue="e", suspect=True)
    assert dispatches.queues_to_look_at(session) == ["a", "b", "e"]
    found = dispatches.due_queues(session)
    assert [(queue, jobs) for queue, jobs, _ in found] == [("a", 2), ("b", 1)]
    assert [round(age / 60) for _, _, age in found] == [10, 5]
