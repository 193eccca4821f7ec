"""The end of a producer, of its process, and of its parent."""

import gc
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tests.producers.queues import AddRow, Queues
from tests.servers.ports import free_port
from tests.waiting import until

from penstock.producers import Producer, ProducerClosed, Publisher
from penstock.schemas import Message

PUBLISH_AND_EXIT = """
import sys
from tests.producers.queues import AddRow
from penstock.producers import Publisher
from penstock.schemas import Message
publisher = Publisher(sys.argv[1])
for n in range(500):
    publisher.submit(Message.of(AddRow(n=n)))
"""


def test_close_waits_for_the_confirms_of_what_is_under_way(queues: Queues) -> None:
    """Nothing that was handed over is dropped."""
    publisher = Publisher(queues.url)
    futures = [publisher.submit(Message.of(AddRow(n=n))) for n in range(2000)]

    publisher.close()

    assert all(future.done() and future.exception() is None for future in futures)
    assert len(queues.ids()) == 2000


def test_publishing_after_close_is_an_error(queues: Queues) -> None:
    """Also when it never connected, and closing twice is fine."""
    producer = Producer(queues.url)
    producer.close()
    producer.close()

    with pytest.raises(ProducerClosed):
        producer.publish(AddRow(n=1))
    assert producer.state == "closed"


def test_close_returns_in_time_when_there_is_no_broker() -> None:
    """What it could not publish fails with an error that says that it was not sent."""
    publisher = Publisher(f"amqp://guest:guest@127.0.0.1:{free_port()}/")
    future = publisher.submit(Message.of(AddRow(n=1)))
    started = time.monotonic()

    publisher.close(timeout_seconds=0.3)

    error = future.exception(timeout=0)
    assert isinstance(error, ProducerClosed)
    assert not error.outcome_unknown
    assert time.monotonic() - started < 3


def test_close_leaves_no_thread_behind(queues: Queues) -> None:
    """A test suite or a reloading server makes many producers."""
    before = set(threading.enumerate())
    with Producer(queues.url) as producer:
        producer.publish(AddRow(n=1))
        assert not set(threading.enumerate()) <= before

    assert set(threading.enumerate()) <= before


def test_a_publisher_that_is_dropped_still_delivers_and_ends_its_thread(queues: Queues) -> None:
    """Forgetting close() is not a leak and not a loss."""
    before = set(threading.enumerate())
    publisher = Publisher(queues.url)
    future = publisher.submit(Message.of(AddRow(n=1)))
    del publisher
    gc.collect()

    future.result(timeout=10)
    until(lambda: set(threading.enumerate()) <= before, what="the I/O thread to end")


def test_an_interpreter_that_exits_delivers_first_and_does_not_hang(queues: Queues) -> None:
    """Nobody waited for the futures of this script, and nobody closed its publisher."""
    subprocess.run([sys.executable, "-c", PUBLISH_AND_EXIT, queues.url], check=True, timeout=20, cwd=Path.cwd())

    assert len(queues.ids()) == 500


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_gets_a_connection_of_its_own(queues: Queues, producer: Producer) -> None:
    """Two processes on one socket would corrupt the stream for both."""
    producer.publish(AddRow(n=1))

    child = os.fork()
    if child == 0:
        try:
            producer.publish_many(AddRow(n=n) for n in range(100))
            producer.close()
            os._exit(0)
        except BaseException:  # a child must not run the rest of the test session
            os._exit(1)
    producer.publish_many(AddRow(n=n) for n in range(100))
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    producer.publish(AddRow(n=2))
    assert len(queues.ids()) == 202
