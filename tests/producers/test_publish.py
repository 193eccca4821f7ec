"""Publishing one job."""

import dataclasses
import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.producers.queues import QUORUM, AddRow, NobodyListens, Queues

from penstock.producers import InvalidJob, Producer, Publish, PublishOptions, Receipt, Unroutable
from penstock.schemas import Job
from penstock.schemas.identifiers import job_id_time
from penstock.schemas.message import EXCHANGE


def test_a_confirmed_job_is_in_the_queue_with_every_property_of_the_wire(queues: Queues, producer: Producer) -> None:
    """What the wire table promises to workers in any language."""
    due_at = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)

    receipt = producer.publish(
        AddRow(n=1, text="ü"),
        key="row-1",
        due_at=due_at,
        tenant="acme",
        correlation_id="order-7",
        reply_to="penstock.replies.tests",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )

    [arrived] = queues.take()
    properties = arrived.properties
    assert (arrived.exchange, arrived.routing_key) == (EXCHANGE, "demo.add_row")
    assert json.loads(arrived.body) == {"n": 1, "text": "ü"}
    assert (properties.message_id, properties.type) == (receipt.job_id, "demo.add_row")
    assert (properties.content_type, properties.app_id) == ("application/json", "tests")
    assert (properties.correlation_id, properties.delivery_mode) == ("order-7", 2)
    assert properties.reply_to == "penstock.replies.tests"
    assert abs(datetime.now(UTC).timestamp() - (properties.timestamp or 0)) < 60
    headers = {name: value for name, value in (properties.headers or {}).items() if name != "x-delivery-count"}
    assert headers == {
        "schema-version": 3,
        "dedup-key": "row-1",
        "due-at": due_at.isoformat(),
        "tenant": "acme",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }


def test_a_receipt_names_the_job_its_key_and_where_it_is_durable(queues: Queues, producer: Producer) -> None:
    """Without a key, the job id is the key."""
    keyed = producer.publish(AddRow(n=1), key="row-1")
    plain = producer.publish(AddRow(n=2))

    assert keyed == Receipt(keyed.job_id, "row-1", "broker", keyed.confirmed_at)
    assert plain.key == plain.job_id
    assert job_id_time(keyed.job_id) <= keyed.confirmed_at <= datetime.now(UTC)


def test_a_given_job_id_is_kept(queues: Queues, producer: Producer) -> None:
    """A service that publishes again uses the id of the first time."""
    job_id = producer.publish(AddRow(n=1)).job_id

    assert producer.publish(AddRow(n=1), job_id=job_id).job_id == job_id
    assert queues.ids() == [job_id, job_id]


def test_a_delay_becomes_a_due_time(queues: Queues, producer: Producer) -> None:
    """Delays are rows with `due_at`, made from this header."""
    before = datetime.now(UTC)

    producer.publish(AddRow(n=1), delay=timedelta(hours=2))

    [arrived] = queues.take()
    due_at = datetime.fromisoformat(str((arrived.properties.headers or {})["due-at"]))
    assert before <= due_at - timedelta(hours=2) <= datetime.now(UTC)


def test_a_job_that_no_queue_is_bound_for_is_an_error_with_a_remedy(queues: Queues, producer: Producer) -> None:
    """RabbitMQ would otherwise drop it and still confirm."""
    with pytest.raises(Unroutable, match=r"no queue is bound for type demo\.nobody_listens: start a worker") as raised:
        producer.publish(NobodyListens())

    assert raised.value.job_type == "demo.nobody_listens"
    assert raised.value.job_id is not None
    assert not raised.value.outcome_unknown


def test_a_job_can_be_published_once_its_queue_is_bound(queues: Queues, producer: Producer) -> None:
    """The error is about this moment only."""
    with pytest.raises(Unroutable):
        producer.publish(NobodyListens())
    queues.bind(NobodyListens, QUORUM)

    receipt = producer.publish(NobodyListens())

    assert queues.ids() == [receipt.job_id]


def test_a_producer_on_an_empty_broker_makes_the_exchange(broker_url: str) -> None:
    """The first to arrive may be a producer; then only the queue is missing."""
    with Producer(broker_url) as producer, pytest.raises(Unroutable):
        producer.publish(AddRow(n=1))


def test_an_exchange_that_was_deleted_is_made_again(queues: Queues, producer: Producer) -> None:
    """RabbitMQ closes the channel for it; the producer opens another one."""
    producer.publish(AddRow(n=1))
    queues.channel.exchange_delete(EXCHANGE)

    with pytest.raises(Unroutable):
        producer.publish(AddRow(n=2))
    queues.bind(AddRow)

    producer.publish(AddRow(n=3))
    assert [json.loads(arrived.body)["n"] for arrived in queues.take()][-1] == 3


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"due_at": datetime(2030, 1, 1)}, "time zone"),  # noqa: DTZ001 - the naive time is the point
        ({"key": ""}, "dedup-key"),
        ({"job_id": "7"}, "message_id"),
        ({"reply_to": "orders"}, "reply_to must begin with one of amq.gen-, "),
        ({"reply_to": "amq.rabbitmq.reply-to"}, "declare a queue, like penstock.replies.billing"),
        ({"due_at": datetime.now(UTC), "delay": timedelta(1)}, "not both"),
        ({"delay": 5}, r"demo\.add_row: delay must be a timedelta"),
        ({"correlation_id": "ü" * 255}, "AMQP"),
    ],
)
def test_an_option_that_no_reader_would_accept_is_refused(
    queues: Queues, producer: Producer, options: dict[str, str], complaint: str
) -> None:
    """The last one has 255 characters, as allowed, but more than 255 bytes."""
    with pytest.raises(InvalidJob, match=complaint):
        producer.publish(AddRow(n=1), **options)  # type: ignore[arg-type]

    assert queues.ids() == []


def test_what_is_no_job_is_refused_before_sending(producer: Producer) -> None:
    """A payload alone says neither type nor version."""
    with pytest.raises(InvalidJob, match=r"must be an instance of a Job class, like .*, no dict$"):
        producer.publish({"n": 1})  # type: ignore[arg-type]

    assert producer.state == "disconnected"


def test_the_options_of_publish_are_the_fields_of_a_publish() -> None:
    """They stand in two places, one for type checkers and one for Python."""
    fields = {it.name: it.type for it in dataclasses.fields(Publish)}
    assert fields.pop("job") is Job
    assert fields == PublishOptions.__annotations__


def test_an_option_that_there_is_not_is_named(producer: Producer) -> None:
    """A slip of the pen must not be swallowed."""
    with pytest.raises(TypeError, match="'kee'"):
        producer.publish(AddRow(n=1), kee="row-1")  # type: ignore[call-arg]


@pytest.mark.parametrize("timeout_seconds", [0, -1, "30", None, timedelta(seconds=30)])
def test_a_deadline_that_is_none_is_refused_at_once(timeout_seconds: Any) -> None:
    """Not at the first job."""
    with pytest.raises(ValueError, match="timeout_seconds must be a number above 0, not"):
        Producer("amqp://127.0.0.1", timeout_seconds=timeout_seconds)


def test_a_payload_that_is_too_large_is_refused_before_sending(queues: Queues, producer: Producer) -> None:
    """And the payload is not in the error."""
    with pytest.raises(InvalidJob, match="body") as raised:
        producer.publish(AddRow(n=1, text="secret" * 300_000))

    assert "secret" not in str(raised.value)
    assert producer.state == "disconnected"


def test_the_largest_payload_that_is_allowed_arrives_whole(queues: Queues, producer: Producer) -> None:
    """It takes several frames."""
    text = "x" * (1024 * 1024 - 100)

    producer.publish(AddRow(n=1, text=text))

    [arrived] = queues.take()
    assert json.loads(arrived.body)["text"] == text


def test_many_threads_share_one_producer(queues: Queues, producer: Producer) -> None:
    """Each gets the receipt of its own jobs."""
    receipts: list[Receipt] = []

    def publish_some(thread: int) -> None:
        receipts.extend(producer.publish(AddRow(n=n), key=f"{thread}-{n}") for n in range(50))

    threads = [threading.Thread(target=publish_some, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    arrived = {message.id: (message.properties.headers or {})["dedup-key"] for message in queues.take()}
    assert arrived == {receipt.job_id: receipt.key for receipt in receipts}
    assert len(arrived) == 400


@pytest.mark.parametrize("url", ["http://localhost", "amqp://user@host", "amqp://u:p4ss@host:port/", "amqp://[u:p4ss/"])
def test_a_bad_url_is_refused_without_repeating_it(url: str) -> None:
    """It holds a password."""
    with pytest.raises(ValueError, match=r"write amqp://") as raised:
        Producer(url)

    assert "p4ss" not in str(raised.value)
    assert raised.value.__cause__ is None
