"""`penstock worker` with Dramatiq's own worker threads in place of ours, and everything else as it is: claims, the
board, the settler.

`python -m benchmarks.dramatiq_loop none worker …` runs it; with `default` in place of `none` its broker has the
middleware that Dramatiq gives one by itself. `benchmarks.loops` measures it.
"""

from __future__ import annotations

import sys
import threading
from queue import PriorityQueue
from typing import TYPE_CHECKING, Any, cast

import dramatiq
from benchmarks.contenders import QUEUE
from dramatiq.brokers.stub import StubBroker
from dramatiq.worker import WorkerThread as DramatiqThread
from dramatiq.worker import _WorkQueueItem

from penstock.console.main import app
from penstock.workers import holding, process
from penstock.workers.threads import WorkerThread

if TYPE_CHECKING:
    from penstock.ledger.admission import Claim
    from penstock.workers.entry import Entry
    from penstock.workers.holding import Holding
    from penstock.workers.intake import Intake

    Item = tuple[Claim, Entry, float] | None


class Ready(PriorityQueue[Any]):
    """What `Holding.ready` is to the intake, and Dramatiq's work queue to its threads: messages, by priority."""

    room: threading.Event | None = None

    def put(self, item: Item, block: bool = True, timeout: float | None = None) -> None:
        message: dramatiq.Message[Any] = dramatiq.Message(
            queue_name=QUEUE, actor_name="job", args=(item,), kwargs={}, options={}
        )
        super().put(_WorkQueueItem(0, dramatiq.broker.MessageProxy(message)), block, timeout)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        if self.room is not None and self.empty():
            self.room.set()
        return super().get(block, timeout)

    def get_nowait(self) -> Item:
        """For the intake, which takes back what no thread has started."""
        return cast("Item", super().get(block=False).message.args[0])


class Thread(DramatiqThread):
    """Dramatiq's loop around what our thread does with one job; there is nothing to ack any more."""

    def __init__(self, number: int, *, holding: Holding, intake: Intake, **parts: Any) -> None:
        super().__init__(broker=BROKER, consumers=CONSUMERS, work_queue=cast("Any", holding.ready), worker_timeout=1000)
        cast("Ready", holding.ready).room = intake.room
        self.holding = holding
        self.run_one = WorkerThread(number, holding=holding, intake=intake, **parts)._run_one  # noqa: SLF001


class NothingToAck:
    """The claim has acked it."""

    def post_process_message(self, _: object) -> None:
        """Dramatiq's consumer would ack here."""


def run_job(item: Item) -> None:
    """The actor that all jobs are."""
    thread = cast("Thread", threading.current_thread())
    if item is None:
        thread.stop()
        return
    claim, entry, thread.holding.taken_at = item
    thread.run_one(claim, entry)


if __name__ == "__main__":
    BROKER = StubBroker() if sys.argv.pop(1) == "default" else StubBroker(middleware=[])
    CONSUMERS: dict[str, Any] = {QUEUE: NothingToAck()}
    dramatiq.Actor(run_job, broker=BROKER, actor_name="job", queue_name=QUEUE, priority=0, options={})
    cast("Any", holding).SimpleQueue = Ready
    cast("Any", process).WorkerThread = Thread
    app(prog_name="penstock")
