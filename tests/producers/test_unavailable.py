"""A broker that is not there, or says no."""

import time
from urllib.parse import urlsplit

import pytest
from tests.producers.queues import AddRow
from tests.servers.ports import free_port
from tests.servers.rabbitmq import PrivateRabbitMQ

from penstock.producers import BrokerUnavailable, Producer, PublishManyError, PublishRefused


def test_a_wrong_password_is_said_at_once_and_not_repeated(broker_url: str) -> None:
    """Waiting for the deadline would not make it right."""
    url = urlsplit(broker_url)._replace(netloc=f"guest:swordfish@{urlsplit(broker_url).netloc.split('@')[1]}").geturl()
    started = time.monotonic()

    with Producer(url, timeout_seconds=30) as producer, pytest.raises(BrokerUnavailable) as raised:
        producer.publish(AddRow(n=1))

    assert time.monotonic() - started < 10
    assert "refuses the login of user 'guest'" in str(raised.value)
    assert f":{urlsplit(broker_url).port}" in str(raised.value)
    assert "swordfish" not in f"{raised.value!r} {raised.value.__cause__!r} {raised.value.__context__!r}"
    assert not raised.value.outcome_unknown


def test_a_missing_virtual_host_is_said_at_once(broker_url: str) -> None:
    """With the command that makes it."""
    url = urlsplit(broker_url)._replace(path="/nobody-made-this").geturl()
    started = time.monotonic()

    with (
        Producer(url, timeout_seconds=30) as producer,
        pytest.raises(BrokerUnavailable, match=r"'nobody-made-this': create it \(rabbitmqctl add_vhost\)"),
    ):
        producer.publish(AddRow(n=1))

    assert time.monotonic() - started < 10


def test_a_broker_that_is_not_there_is_said_at_the_deadline() -> None:
    """Until then it may come back."""
    port = free_port()
    started = time.monotonic()

    with (
        Producer(f"amqp://guest:guest@127.0.0.1:{port}/", timeout_seconds=0.5) as producer,
        pytest.raises(BrokerUnavailable, match=rf"127\.0\.0\.1:{port}.*Connection refused") as raised,
    ):
        producer.publish(AddRow(n=1))

    assert 0.5 <= time.monotonic() - started < 5
    assert not raised.value.outcome_unknown


def test_a_deadline_can_be_given_for_one_publish() -> None:
    """It goes before that of the producer."""
    with (
        Producer(f"amqp://guest:guest@127.0.0.1:{free_port()}/", timeout_seconds=60) as producer,
        pytest.raises(BrokerUnavailable),
    ):
        producer.publish(AddRow(n=1), timeout_seconds=0.1)


def test_publish_many_does_not_wait_out_a_deadline_for_every_job_when_the_broker_is_gone() -> None:
    """It stops taking jobs at the first failure that they would all share."""
    with (
        Producer(f"amqp://guest:guest@127.0.0.1:{free_port()}/", timeout_seconds=0.3) as producer,
        pytest.raises(PublishManyError) as raised,
    ):
        producer.publish_many(AddRow(n=n) for n in range(1_000_000))

    assert raised.value.taken < 10_000
    assert len(raised.value.failures) == raised.value.taken
    assert not raised.value.receipts


@pytest.mark.faults
def test_a_user_who_may_only_publish_can_publish(private_rabbitmq: PrivateRabbitMQ) -> None:
    """In production a producer has no right to declare anything."""
    from tests.producers.queues import Queues

    with Queues(private_rabbitmq.url) as queues:
        queues.bind(AddRow)
        with Producer(_url_for(private_rabbitmq, configure="^$", write="^penstock")) as producer:
            receipt = producer.publish(AddRow(n=1))
        assert queues.ids() == [receipt.job_id]


@pytest.mark.faults
def test_one_job_that_the_user_may_not_publish_fails_alone(private_rabbitmq: PrivateRabbitMQ) -> None:
    """RabbitMQ closes the channel under all of them and does not say for which; the producer finds out."""
    from tests.producers.queues import NobodyListens, Queues

    with Queues(private_rabbitmq.url) as queues:
        queues.bind(AddRow)
        url = _url_for(private_rabbitmq, configure="^$", write=".*", topics=r"^demo\.add_row$")
        jobs = [NobodyListens(n=n) if n == 30 else AddRow(n=n) for n in range(60)]
        with Producer(url) as producer, pytest.raises(PublishManyError) as raised:
            producer.publish_many(jobs)

        assert [failure.position for failure in raised.value.failures] == [30]
        assert isinstance(raised.value.failures[0].error, PublishRefused)
        assert "ACCESS_REFUSED" in str(raised.value.failures[0].error)
        assert set(queues.ids()) == {receipt.job_id for receipt in raised.value.receipts}
        assert len(raised.value.receipts) == 59


def _url_for(rabbitmq: PrivateRabbitMQ, *, configure: str, write: str, topics: str | None = None) -> str:
    """The address for a user with these rights and no others."""
    user = f"narrow-{free_port()}"
    rabbitmq.ctl("add_user", user, "pw")
    rabbitmq.ctl("set_permissions", "-p", "/", user, configure, write, "^$")
    if topics is not None:
        rabbitmq.ctl("set_topic_permissions", "-p", "/", user, "penstock.jobs", topics, "^$")
    return rabbitmq.url.replace("guest:guest", f"{user}:pw")
