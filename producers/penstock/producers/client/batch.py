"""Messages that were submitted together, and the outcome of each."""

import time
from collections.abc import Iterable
from concurrent.futures import Future
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

    __slots__ = ("_pending", "_settled", "confirmed_at", "deadline", "done", "errors", "messages")

    def __init__(self, messages: Iterable[Message], *, timeout_seconds: float) -> None:
        self.messages = tuple(messages)
        self.deadline = time.monotonic() + timeout_seconds
        self.errors: list[PublishError | None] = [None] * len(self.messages)
        self.confirmed_at = datetime.now(UTC)
        self.done: Future[Batch] = Future()
        # A future that runs cannot be cancelled: whoever stops waiting must not disturb the I/O thread.
        self.done.set_running_or_notify_cancel()
        self._settled = bytearray(len(self.messages))
        self._pending = len(self.messages)
        if not self.messages:
            self.done.set_result(self)

    def wait(self) -> "Batch":
        """Block until each message is confirmed or has failed; raises nothing for those that failed."""
        try:
            return self.done.result(timeout=self.patience_seconds)
        except TimeoutError:
            return self.give_up()

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
        self._pending -= 1
        if self._pending:
            return False
        self.confirmed_at = datetime.now(UTC)
        self.done.set_result(self)
        return True
