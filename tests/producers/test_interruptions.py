"""A signal or a time limit ends a thread while it publishes."""

import errno
import time

import pytest
from tests.producers.counting import counted
from tests.producers.interruption import Interruption
from tests.producers.queues import AddRow, NobodyListens, Queues

from penstock.producers import Producer, Publisher, Unroutable


class TimeLimit(BaseException):
    """As task queues raise it in their threads."""


@pytest.mark.parametrize(
    "error", [TimeLimit(), TimeoutError(errno.ETIME, "5 s are over")], ids=["of a task queue", "of an alarm"]
)
def test_a_thread_may_be_interrupted_at_each_line(
    queues: Queues, producer: Producer, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hears so. Whoever publishes next hears the truth all the same: a receipt, or that nobody is there."""
    mended = counted(monkeypatch, "_mend")
    receipts = {producer.publish(AddRow(n=0)).job_id}
    line, has_come = 1, True
    while has_come:
        interruption = Interruption(Publisher.submit_many, line, error)
        try:
            with interruption:
                receipts.add(producer.publish(AddRow(n=line)).job_id)
        except type(error):
            receipts.add(producer.publish(AddRow(n=line), timeout_seconds=15).job_id)
        with pytest.raises(Unroutable):
            producer.publish(NobodyListens(n=line))
        line, has_come = line + 1, interruption.has_come

    assert line > 20
    assert sum(mended) > 5, "no thread was ended while it sent by itself"
    assert receipts <= set(queues.ids())
    started = time.monotonic()
    producer.close(timeout_seconds=60)
    assert time.monotonic() - started < 30, "something is waited for that nobody sends"
