"""A signal or a time limit ends a thread while it publishes."""

from tests.producers.interruption import Interruption
from tests.producers.queues import AddRow, Queues

from penstock.producers import Producer, Publisher


class TimeLimit(BaseException):
    """As task queues raise it in their threads."""


def test_a_thread_may_be_interrupted_at_each_line(queues: Queues, producer: Producer) -> None:
    """It hears so. Whoever publishes next has a receipt all the same, and that one is worth its name."""
    receipts = {producer.publish(AddRow(n=0)).job_id}
    line, has_come = 1, True
    while has_come:
        interruption = Interruption(Publisher.submit_many, line, TimeLimit())
        try:
            with interruption:
                receipts.add(producer.publish(AddRow(n=line)).job_id)
        except TimeLimit:
            receipts.add(producer.publish(AddRow(n=line), timeout_seconds=15).job_id)
        line, has_come = line + 1, interruption.has_come

    assert line > 20
    assert receipts <= set(queues.ids())
