"""Publishing of messages over one connection, from any thread, with the outcome of each."""

import atexit
import os
import threading
import weakref
from collections.abc import Iterable
from concurrent.futures import Future

from penstock.producers.client.batch import Batch
from penstock.producers.client.direct_sender import DirectSender
from penstock.producers.client.endpoint import Endpoint
from penstock.producers.client.envelope import Enclose
from penstock.producers.client.errors import ProducerClosed
from penstock.schemas.message import Message
from penstock.schemas.retry import is_number

TIMEOUT_SECONDS = 30.0
EXIT_SECONDS = 5.0


class Publisher:
    """Publishes jobs, or what else `enclose` makes of messages: confirmed, mandatory, persistent, pipelined.

    It connects at the first message, reconnects by itself, and sends again what a lost connection left
    without a confirm, under the same id. Each message ends, at its deadline at the latest, confirmed or
    with a `PublishError`. After a fork the child gets a connection of its own.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str = "penstock",
        timeout_seconds: float = TIMEOUT_SECONDS,
        enclose: Enclose | None = None,
    ) -> None:
        """Raises `ValueError` for a bad URL; does not connect yet."""
        if not is_number(timeout_seconds) or timeout_seconds <= 0:
            raise ValueError(f"timeout_seconds must be a number above 0, not {timeout_seconds!r}")
        self._endpoint = Endpoint.read(url, name=name)
        self._timeout_seconds = timeout_seconds
        self._enclose = enclose
        self._lock = threading.Lock()
        self._sender: DirectSender | None = None
        self._pid = os.getpid()
        self._closed = False

    def submit(self, message: Message, *, timeout_seconds: float | None = None) -> Future[None]:
        """Publish one; the future fails with the `PublishError` of the message. Raises `ProducerClosed`.

        Callbacks of the future run in the I/O thread: they must not block, and not publish and wait.
        """
        batch = self.submit_many((message,), timeout_seconds=timeout_seconds)
        future: Future[None] = Future()
        future.set_running_or_notify_cancel()
        batch.done.add_done_callback(lambda _: _pass_on(batch, future))
        return future

    def submit_many(self, messages: Iterable[Message], *, timeout_seconds: float | None = None) -> Batch:
        """Publish many as one batch: one hand-over to the I/O thread, one wake-up when all are settled.

        Does not wait for RabbitMQ. Raises `ProducerClosed`; everything else is in the outcomes of the batch.
        """
        batch = Batch(messages, timeout_seconds=self._timeout_seconds if timeout_seconds is None else timeout_seconds)
        if self._pid != os.getpid():
            self._start_over()
        running = self._sender
        if running is not None and running.send_at_once(batch):
            return batch
        with self._lock:
            if self._closed:
                raise ProducerClosed("the producer is closed: publish before close(), or make a new one")
            sender = self._sender
            if sender is None or not sender.thread.is_alive():
                sender = self._start()
            if batch.messages:
                sender.post(batch)
        return batch

    @property
    def state(self) -> str:
        """`connected`, `blocked`, `disconnected` or `closed`; a glance, not a promise."""
        if self._closed:
            return "closed"
        return "disconnected" if self._sender is None else self._sender.state

    def close(self, timeout_seconds: float = 10.0) -> None:
        """Refuse new messages, wait for the confirms of those under way, then disconnect.

        What is not confirmed in time fails with `ProducerClosed`. May be called twice.
        """
        with self._lock:
            self._closed = True
            sender, self._sender = self._sender, None
        if sender is None or self._pid != os.getpid():
            return
        atexit.unregister(self._at_exit)
        self._abandon.detach()
        sender.request_close(timeout_seconds)
        if threading.current_thread() is not sender.thread:
            sender.thread.join(timeout_seconds + EXIT_SECONDS)

    def _start(self) -> DirectSender:
        sender = DirectSender(endpoint=self._endpoint, enclose=self._enclose)
        sender.start()
        # A publisher that is dropped without close() still finishes, and then gives back its thread.
        self._abandon = weakref.finalize(self, sender.request_close, EXIT_SECONDS)
        self._abandon.atexit = False
        reference = weakref.ref(self)
        self._at_exit = lambda: _close_at_exit(reference)
        atexit.register(self._at_exit)
        self._sender = sender
        return sender

    def _start_over(self) -> None:
        """After a fork: the I/O thread, and what was under way, stayed with the parent."""
        sender, self._sender = self._sender, None
        self._lock = threading.Lock()
        if sender is not None:
            atexit.unregister(self._at_exit)
            self._abandon.detach()
        self._pid = os.getpid()  # last: from here on other threads go on


def _pass_on(batch: Batch, future: Future[None]) -> None:
    error = batch.errors[0]
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def _close_at_exit(reference: "weakref.ref[Publisher]") -> None:
    publisher = reference()
    if publisher is not None:
        publisher.close(timeout_seconds=EXIT_SECONDS)
