"""Publishing many jobs in one call."""

import json
from collections.abc import Iterator

import pytest
from tests.producers.queues import AddRow, NobodyListens, Queues

from penstock.producers import InvalidJob, Producer, ProducerClosed, Publish, PublishManyError, Unroutable
from penstock.producers.client.stream import CHUNK_MESSAGES_MAX, CHUNKS_UNDER_WAY_MAX
from penstock.schemas import Job

UNDER_WAY_MAX = CHUNK_MESSAGES_MAX * CHUNKS_UNDER_WAY_MAX


def test_twenty_thousand_jobs_arrive_and_the_receipts_are_in_their_order(queues: Queues, producer: Producer) -> None:
    """All confirmed, though only a bounded number is under way at a time."""
    receipts = producer.publish_many((AddRow(n=n), f"row-{n}") for n in range(20_000))

    assert [receipt.key for receipt in receipts] == [f"row-{n}" for n in range(20_000)]
    assert sorted(queues.ids()) == sorted(receipt.job_id for receipt in receipts)


def test_jobs_of_more_bytes_than_the_socket_takes_at_once_arrive_whole(queues: Queues, producer: Producer) -> None:
    """What the first write leaves over goes out as soon as there is room, before what comes after it."""
    texts = [f"{n:03}" * 40_000 for n in range(120)]

    producer.publish_many(AddRow(n=n, text=text) for n, text in enumerate(texts))

    assert [json.loads(message.body)["text"] for message in queues.take()] == texts


def test_a_generator_is_read_only_as_far_as_is_under_way(queues: Queues) -> None:
    """So a generator of millions needs the memory of thousands."""
    confirmed_before: list[int] = []
    stream_length = UNDER_WAY_MAX * 3

    def jobs() -> Iterator[Job]:
        for n in range(stream_length):
            confirmed_before.append(len(stream._receipts))
            yield AddRow(n=n)

    with Producer(queues.url) as producer:
        stream = producer.stream(jobs())
        for batch in stream:
            batch.wait()

    assert len(stream.result()) == stream_length
    assert max(n - confirmed for n, confirmed in enumerate(confirmed_before)) <= UNDER_WAY_MAX


def test_jobs_pairs_and_publishes_can_be_mixed(queues: Queues, producer: Producer) -> None:
    """A `Publish` takes every option that `publish` takes."""
    receipts = producer.publish_many(
        [AddRow(n=0), (AddRow(n=1), "one"), Publish(AddRow(n=2), key="two", tenant="acme")]
    )

    arrived = queues.take()
    assert [json.loads(message.body)["n"] for message in arrived] == [0, 1, 2]
    assert [receipt.key for receipt in receipts] == [receipts[0].job_id, "one", "two"]
    assert (arrived[2].properties.headers or {})["tenant"] == "acme"


def test_no_jobs_are_no_receipts(producer: Producer) -> None:
    """And not an error."""
    assert producer.publish_many([]) == []


def test_a_returned_job_does_not_spoil_its_neighbours(queues: Queues, producer: Producer) -> None:
    """The error says which ones, and has the receipts of the others."""
    jobs: list[Job] = [NobodyListens(n=n) if n % 100 == 50 else AddRow(n=n) for n in range(1000)]

    with pytest.raises(PublishManyError, match="990 of the 1000") as raised:
        producer.publish_many(jobs)

    error = raised.value
    assert [failure.position for failure in error.failures] == list(range(50, 1000, 100))
    assert all(isinstance(failure.error, Unroutable) for failure in error.failures)
    assert [failure.error.job_id for failure in error.failures] == [publish.job_id for publish in error.again]
    assert error.taken == 1000
    assert not error.outcome_unknown
    assert sorted(queues.ids()) == sorted(receipt.job_id for receipt in error.receipts)


def test_what_failed_can_be_published_again_under_the_same_ids(queues: Queues, producer: Producer) -> None:
    """`again` is ready for another call."""
    with pytest.raises(PublishManyError) as raised:
        producer.publish_many([NobodyListens(n=1), AddRow(n=2)])
    queues.bind(NobodyListens)

    [receipt] = producer.publish_many(raised.value.again)

    assert receipt.job_id == raised.value.failures[0].error.job_id
    assert receipt.job_id in queues.ids()


def test_an_invalid_job_does_not_stop_the_others(queues: Queues, producer: Producer) -> None:
    """It never reaches the wire."""
    with pytest.raises(PublishManyError) as raised:
        producer.publish_many([AddRow(n=1), AddRow(n=2, text="x" * 2_000_000), AddRow(n=3)])

    [failure] = raised.value.failures
    assert failure.position == 1
    assert isinstance(failure.error, InvalidJob)
    assert queues.ids() == [receipt.job_id for receipt in raised.value.receipts]
    assert len(raised.value.receipts) == 2


def test_what_is_no_job_does_not_stop_the_others(queues: Queues, producer: Producer) -> None:
    """The error says where it stands."""
    with pytest.raises(PublishManyError, match="no int") as raised:
        producer.publish_many([AddRow(n=0), 5, ("row", "one"), AddRow(n=1)])  # type: ignore[list-item]

    assert [failure.position for failure in raised.value.failures] == [1, 2]
    assert all(isinstance(failure.error, InvalidJob) for failure in raised.value.failures)
    assert queues.ids() == [receipt.job_id for receipt in raised.value.receipts]


def test_a_generator_that_raises_does_not_lose_the_receipts_of_what_it_yielded(
    queues: Queues, producer: Producer
) -> None:
    """Its own exception is the cause."""

    def jobs() -> Iterator[Job]:
        yield AddRow(n=1)
        yield AddRow(n=2)
        raise OSError("the file ended early")

    with pytest.raises(PublishManyError, match="the iterable itself failed") as raised:
        producer.publish_many(jobs())

    assert isinstance(raised.value.__cause__, OSError)
    assert queues.ids() == [receipt.job_id for receipt in raised.value.receipts]
    assert raised.value.taken == 2


def test_a_closed_producer_leaves_the_rest_of_the_iterable_alone(queues: Queues, producer: Producer) -> None:
    """What was taken is listed; what was not taken is not published behind anybody's back."""

    def jobs() -> Iterator[Job]:
        for n in range(100_000):
            if n == CHUNK_MESSAGES_MAX:
                producer.close()
            yield AddRow(n=n)

    with pytest.raises(PublishManyError) as raised:
        producer.publish_many(jobs())

    error = raised.value
    assert len(error.receipts) == CHUNK_MESSAGES_MAX
    assert {type(failure.error) for failure in error.failures} == {ProducerClosed}
    assert error.taken == 2 * CHUNK_MESSAGES_MAX
