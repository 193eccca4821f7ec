"""Messages that were submitted together, and the outcome of each."""

import contextlib
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future, InvalidStateError
from datetime import UTC, datetime

from penstock.producers.client.errors import PublishError, PublishTimeout
from penstock.schemas.message import Message

# The I/O thread settles what has reached its deadline; the waiting thread gives it this much longer.
GRACE_SECONDS = 5.0


class Outgoing:
    """One message on its way through the I/O thread."""

    __slots__ = ("batch", "index", "message", "nacks", "sent", "size", "tag")

    def __init__(self, batch: "Batch", index: int, message: Message) -> None:
        self.batch = batch
        self.index = index
        self.message = message
        self.size = len(message.body)
        self.tag = 0
        self.sent = False
        self.nacks = 0

    @property
    def settled(self) -> bool:
        return self.batch.is_settled(self.index)


class Batch:
    """Messages with one deadline; wakes its waiter once, when the last of them is settled.

    After `wait()`, `errors[i]` belongs to `messages[i]`: None means confirmed by RabbitMQ.
    """

    __slots__ = ("_done", "_pending", "_settled", "_unsettled", "confirmed_at", "deadline", "errors", "messages")

    def __init__(self, messages: Iterable[Message], *, timeout_seconds: float) -> None:
        self.messages = tuple(messages)
        self.deadline = time.monotonic() + timeout_seconds
        self.errors: list[PublishError | None] = [None] * len(self.messages)
        self.confirmed_at = datetime.now(UTC)
        self._settled = bytearray(len(self.messages))
        self._pending = len(self.messages)
        # A lock that is held until then: to wait for a future costs a publish a tenth of its time.
        self._unsettled = threading.Lock()
        self._done: Future[Batch] | None = None
        if self.messages:
            self._unsettled.acquire()

    def wait(self) -> "Batch":
        """Block until each message is confirmed or has failed; raises nothing for those that failed."""
        if not self._unsettled.acquire(timeout=self.patience_seconds):
            return self.give_up()
        self._unsettled.release()
        return self

    @property
    def done(self) -> "Future[Batch]":
        """The same for those who do not block; its callbacks run in the I/O thread, or at once."""
        if self._done is None:
            done: Future[Batch] = Future()
            # A future that runs cannot be cancelled: whoever stops waiting must not disturb the I/O thread.
            done.set_running_or_notify_cancel()
            self._done = done  # from here on the I/O thread may finish it, too
            if not self._pending:
                self._finish(done)
        return self._done

    @property
    def patience_seconds(self) -> float:
        """How long from now the outcomes can take at most."""
        return max(0.0, self.deadline - time.monotonic()) + GRACE_SECONDS

    def give_up(self) -> "Batch":
        """Stop waiting for an I/O thread that has died: what it has not settled is of unknown outcome."""
        for index, message in enumerate(self.messages):
            if not self._settled[index]:
                text = "the publisher's I/O thread does not answer; outcome unknown: publish again with the same key"
                self.errors[index] = PublishTimeout(text, job_id=message.id, outcome_unknown=True)
        return self

    @property
    def failures(self) -> list[tuple[Message, PublishError]]:
        """The messages that have no confirm, each with its error."""
        return [(self.messages[i], error) for i, error in enumerate(self.errors) if error is not None]

    def is_settled(self, index: int) -> bool:
        return bool(self._settled[index])

    def settle(self, index: int, error: PublishError | None) -> bool:
        """Record an outcome, once; True when it was the last one. Called by the I/O thread only."""
        if self._settled[index]:
            return False
        self._settled[index] = 1
        self.errors[index] = error
        if self._pending == 1:
            self.confirmed_at = datetime.now(UTC)  # before anybody can see that none is pending
        self._pending -= 1
        if self._pending:
            return False
        self._unsettled.release()
        if self._done is not None:
            self._finish(self._done)
        return True

    def _finish(self, done: "Future[Batch]") -> None:
        # Whoever asks for the future while the last outcome comes, and the I/O thread, may both be here.
        with contextlib.suppress(InvalidStateError):
            done.set_result(self)
