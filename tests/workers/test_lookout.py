"""Looking at queues: over one connection for as long as it lasts."""

import pika.exceptions
import pytest
from tests.workers.amqp import channel_on

from penstock.workers.lookout import Lookout


def test_queues_are_counted_over_one_connection(broker_url: str) -> None:
    """Also where neither the exchange nor one of the queues is there."""
    with channel_on(broker_url) as channel, Lookout(broker_url, name="test") as lookout:
        channel.queue_declare("here", durable=True)
        assert lookout.count_ready({"gone", "here"}) == {"gone": None, "here": 0}
        first = lookout._connection
        channel.basic_publish("", "here", b"")
        assert lookout.count_ready({"here"}) == {"here": 1}
        assert lookout._connection is first


def test_a_connection_that_was_lost_is_an_error_once(broker_url: str) -> None:
    """The next look gets a new one."""
    with Lookout(broker_url, name="test") as lookout:
        assert lookout.count_ready(set()) == {}
        assert lookout._connection is not None
        lookout._connection.close()
        with pytest.raises(pika.exceptions.AMQPError):
            lookout.count_ready({"gone"})
        assert lookout.count_ready({"gone"}) == {"gone": None}


def test_an_answer_proves_that_rabbitmq_is_there() -> None:
    """Without a single queue to look at."""
    with (
        Lookout("amqp://guest:guest@127.0.0.1:1/%2F", name="test") as lookout,
        pytest.raises(pika.exceptions.AMQPError),
    ):
        lookout.count_ready(set())
