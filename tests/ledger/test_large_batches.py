"""Payloads of a megabyte go through in batches that are bounded by their bytes, and all of them get through."""

from typing import Any

import pytest
from sqlalchemy import event
from tests.ledger.samples import PROCESS, TOKEN, a_row, claimed, waiting_offer

from penstock.ledger import claims, dispatches
from penstock.ledger.admission import admit
from penstock.ledger.batch import BATCH_BYTES_MAX, BATCH_JOBS_MAX, in_batches
from penstock.ledger.database import Session
from penstock.ledger.jobs import count_states
from penstock.ledger.settlement import Outcome, settle
from penstock.ledger.state import State
from penstock.ledger.tables import jobs

MEBIBYTE = 1024 * 1024
LARGE = b'{"text":"%s"}' % (b"x" * (MEBIBYTE - 11))
JOBS = 11
FITS = BATCH_BYTES_MAX // MEBIBYTE


@pytest.fixture
def large(session: Session) -> list[str]:
    """The ids of large jobs that are due, in the order in which they became due."""
    rows = [a_row(payload=LARGE) for _ in range(JOBS)]
    for row in rows:
        session.connection.execute(jobs.insert().values(row))
    return [str(row["id"]) for row in sorted(rows, key=lambda row: row["due_at"])]


def test_a_claim_takes_as_many_as_fit(session: Session, large: list[str]) -> None:
    """The longest due first; the next claim goes on there."""
    got: list[str] = []
    for token in range(100):
        found = claims.claim_due(session, queues=["demo", "other"], limit=500, token=token, process_id=PROCESS)
        if not found:
            break
        assert len(found) <= FITS
        got += [claim.id for claim in found]
    assert got == large


def test_a_dispatch_takes_as_many_as_fit(session: Session, large: list[str]) -> None:
    """And goes on where it stopped, once they are marked."""
    got: list[str] = []
    while due := dispatches.select_due(session, queue="demo", limit=500):
        assert len(due) <= FITS
        assert dispatches.mark_dispatched(session, due) == len(due)
        got += [row.message.id for row in due]
    assert got == large


def test_one_that_is_larger_than_a_batch_goes_alone(session: Session) -> None:
    """Whatever somebody has put there."""
    session.connection.execute(jobs.insert(), [a_row(payload=b"x" * (BATCH_BYTES_MAX + 1)) for _ in range(2)])
    assert len(dispatches.select_due(session, queue="demo", limit=500)) == 1
    assert len(claims.claim_due(session, queues=["demo"], limit=500, token=TOKEN, process_id=PROCESS)) == 1


def test_small_ones_are_limited_by_their_number(session: Session) -> None:
    """As ever."""
    session.connection.execute(jobs.insert(), [a_row() for _ in range(30)])
    assert len(dispatches.select_due(session, queue="demo", limit=20)) == 20
    assert len(claims.claim_due(session, queues=["demo"], limit=20, token=TOKEN, process_id=PROCESS)) == 20


def test_no_statement_carries_more_than_a_batch(session: Session) -> None:
    """Accepted at once, or as the follow-ups of one outcome: they commit together, but go out piece by piece."""
    sizes: list[int] = []

    def remember(_: object, __: object, ___: object, parameters: Any, *____: object) -> None:
        values = parameters.values() if isinstance(parameters, dict) else parameters
        sizes.append(sum(len(value) for value in values if isinstance(value, str)))

    event.listen(session.connection, "before_cursor_execute", remember)
    admit(session, [waiting_offer(LARGE) for _ in range(JOBS)])
    parent = claimed(session)
    follow_ups = tuple(waiting_offer(LARGE, key=f"k{n}") for n in range(JOBS))
    settle(session, [Outcome(parent.id, TOKEN, State.COMPLETED, follow_ups=follow_ups)])
    event.remove(session.connection, "before_cursor_execute", remember)
    assert count_states(session) == {"available": 2 * JOBS, "completed": 1}
    assert MEBIBYTE < max(sizes) < BATCH_BYTES_MAX + MEBIBYTE // 2


@pytest.mark.parametrize(
    ("sizes", "batches"),
    [
        ([], []),
        ([1] * (BATCH_JOBS_MAX + 1), [BATCH_JOBS_MAX, 1]),
        ([BATCH_BYTES_MAX, 1], [1, 1]),
        ([1, BATCH_BYTES_MAX - 1, 1], [2, 1]),
        ([BATCH_BYTES_MAX + 9, BATCH_BYTES_MAX + 9], [1, 1]),
    ],
)
def test_batches_are_bounded_both_ways(sizes: list[int], batches: list[int]) -> None:
    """By their number and by their bytes; what is too large goes alone."""
    assert [len(batch) for batch in in_batches((size, size) for size in sizes)] == batches
