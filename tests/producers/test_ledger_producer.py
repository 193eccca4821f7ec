"""Publishing straight into the ledger: the same interface as `Producer`, and the same care for what has no receipt."""

from collections.abc import Iterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from tests.producers.queues import AddRow

from penstock.ledger.batch import BATCH_JOBS_MAX
from penstock.ledger.database import Ledger
from penstock.ledger.jobs import count_states, show_job
from penstock.producers import InvalidJob, KeyConflict, Publish, PublishManyError
from penstock.producers.ledger_producer import LedgerProducer
from penstock.schemas import Job, Message


class Blob(Job, type="test.blob", queue="test"):
    """As large as one likes."""

    text: str


@pytest.fixture
def ledger(ledger_url: str) -> LedgerProducer:
    """A producer on each kind of database."""
    return LedgerProducer(ledger_url)


def test_the_same_key_twice_is_answered_with_the_first_id(ledger: LedgerProducer) -> None:
    """The second one is absorbed, and its receipt says so."""
    first = ledger.publish(AddRow(n=1), key="row-1")
    assert (first.key, first.durability, first.duplicate) == ("row-1", "ledger", False)
    again = ledger.publish(AddRow(n=1), key="row-1")
    assert (again.job_id, again.duplicate) == (first.job_id, True)
    assert [it.duplicate for it in ledger.publish_many((AddRow(n=n), f"row-{n}") for n in (1, 2, 2))] == [
        True,
        False,
        True,
    ]
    assert ledger.publish(AddRow(n=1), key="row-1", job_id=first.job_id).duplicate is True


def test_another_payload_under_a_known_key_gets_no_receipt(ledger: LedgerProducer, ledger_url: str) -> None:
    """It would never run; it is kept as a dead letter, so that somebody can see it."""
    ledger.publish(AddRow(n=1), key="row-1")
    with pytest.raises(KeyConflict, match="publish it under another key") as refused:
        ledger.publish(AddRow(n=2), key="row-1")
    assert refused.value.job_id is not None
    with Ledger(ledger_url).session() as session:
        row = show_job(session, refused.value.job_id)
    assert row is not None
    assert (row["state"], row["reason"]) == ("dead", "key_conflict")


def test_an_id_that_is_known_under_another_key_gets_no_receipt(ledger: LedgerProducer) -> None:
    """Nothing was accepted under it."""
    first = ledger.publish(AddRow(n=1), key="row-1")
    with pytest.raises(InvalidJob, match="publish it under a new one"):
        ledger.publish(AddRow(n=1), key="row-2", job_id=first.job_id)


def test_who_wants_replies_is_told_that_there_is_no_way_for_them(ledger: LedgerProducer) -> None:
    """A row would be owed for ever where nobody has a broker."""
    with pytest.raises(InvalidJob, match=r"reply_to: replies come over RabbitMQ.*use Producer"):
        ledger.publish(AddRow(n=1), reply_to="penstock.replies.tests")
    with pytest.raises(PublishManyError) as some:
        ledger.publish_many([AddRow(n=1), Publish(AddRow(n=2), reply_to="penstock.replies.tests")])
    assert [failure.position for failure in some.value.failures] == [1]


def test_one_bad_job_does_not_spoil_its_neighbours(ledger: LedgerProducer) -> None:
    """The others have receipts; the error names the bad ones by their position."""
    jobs = [(AddRow(n=n), f"row-{n % 3}") for n in range(3)] + [(AddRow(n=7), "row-0")]
    with pytest.raises(PublishManyError) as some:
        ledger.publish_many([*jobs, Publish(AddRow(n=8), key="x" * 256), (AddRow(n=9), "row-9")])
    assert [receipt.key for receipt in some.value.receipts] == ["row-0", "row-1", "row-2", "row-9"]
    failed = {failure.position: type(failure.error) for failure in some.value.failures}
    assert failed == {3: KeyConflict, 4: InvalidJob}
    assert some.value.taken == 6


def test_a_generator_that_raises_does_not_lose_what_it_yielded(ledger: LedgerProducer) -> None:
    """Its jobs are accepted, and their receipts are in the error."""

    def jobs() -> Iterator[Job]:
        yield from (AddRow(n=n) for n in range(BATCH_JOBS_MAX + 1))
        raise OSError("the file has ended early")

    with pytest.raises(PublishManyError) as some:
        ledger.publish_many(jobs())
    assert len(some.value.receipts) == BATCH_JOBS_MAX + 1
    assert isinstance(some.value.__cause__, OSError)


def test_a_ledger_that_fails_on_the_way_does_not_take_the_receipts_along(
    ledger: LedgerProducer, ledger_url: str
) -> None:
    """What has no answer can be published again, under the same ids."""

    def jobs() -> Iterator[Job]:
        yield from (AddRow(n=n) for n in range(BATCH_JOBS_MAX))
        with Ledger(ledger_url).session() as session:
            session.connection.execute(text("ALTER TABLE jobs RENAME TO hidden"))
        yield AddRow(n=-1)

    with pytest.raises(PublishManyError) as some:
        ledger.publish_many(jobs())
    assert isinstance(some.value.__cause__, DBAPIError)
    assert len(some.value.receipts) == BATCH_JOBS_MAX
    [unanswered] = some.value.failures
    assert (unanswered.position, unanswered.error.outcome_unknown) == (BATCH_JOBS_MAX, True)
    with Ledger(ledger_url).session() as session:
        session.connection.execute(text("ALTER TABLE hidden RENAME TO jobs"))
        assert len(ledger.publish_many(some.value.again)) == 1
        assert count_states(session) == {"available": BATCH_JOBS_MAX + 1}


def test_what_an_actor_sends_is_refused_in_the_same_way(ledger: LedgerProducer) -> None:
    """A message as it is."""
    ledger.publish_message(Message.raw(type="test.raw", body=b"{}", key="k"), queue="test")
    with pytest.raises(KeyConflict):
        ledger.publish_message(Message.raw(type="test.raw", body=b'{"x":1}', key="k"), queue="test")
