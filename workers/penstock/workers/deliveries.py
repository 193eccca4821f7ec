"""Deliveries from RabbitMQ: one connection, one thread that does nothing but I/O.

The thread puts what arrives into `inbox` and carries out what the intake asks for: ack, give back, another
prefetch. Each delivery belongs to the channel that brought it (its `generation`); nothing is ever acked on
another one, because the same tag would there be somebody else's job. Another prefetch is another channel.
"""

from __future__ import annotations

import itertools
import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import pika
import pika.exceptions
from tenacity import RetryCallState, wait_random_exponential

from penstock.producers.client.endpoint import Endpoint, describe
from penstock.schemas.message import EXCHANGE
from penstock.workers import topology
from penstock.workers.connection import Connection
from penstock.workers.consumption import Consumption, Delivery

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Set as AbstractSet

    from pika.channel import Channel

RECONNECT_SECONDS_MAX = 10.0
# A queue with other arguments is somebody's to delete; this is how soon we notice that it is gone.
REFUSED_SECONDS = 10.0
MUTE = "RabbitMQ gives it no consumer"
INTERNAL_ERROR = 541
# pika takes up to 70 s to notice that a connection has fallen silent; until then everything looks well.
ASK_SECONDS = 3.0
SILENT_SECONDS_MAX = 15.0


class Deliveries:
    """Consumes queues; reconnects by itself. `prefetch` 0 means paused: nothing is held here."""

    def __init__(
        self,
        *,
        url: str,
        bindings: Mapping[str, AbstractSet[str]],
        prefetch: int,
        name: str,
        log: Any,
        on_declared_anew: Callable[[set[str]], None],
    ) -> None:
        self.inbox: SimpleQueue[Delivery] = SimpleQueue()
        self.generation = 0
        self.prefetch = prefetch
        self.queues = len(bindings)
        self.refused: dict[str, str] = {}
        self._url = url
        self._endpoint = Endpoint.read(url, name=name)
        self._bindings = bindings
        self._name = name
        self._log = log
        self._on_declared_anew = on_declared_anew
        self._connection: Connection | None = None
        self._channel: Channel | None = None  # for questions only
        self._consumption: Consumption | None = None
        self._deleted = False  # a queue, just now
        self._mute: set[str] = set()  # queues that RabbitMQ has, and gives nobody
        self._generations = itertools.count(1)
        self._answered_at = time.monotonic()
        self._unanswered = 0  # questions in a row; after a freeze of our own it is one, however long that was
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="deliveries", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Give everything back that is not acked, and disconnect."""
        self._stopping.set()
        self._post(self._close)
        self._thread.join(timeout=10)

    @property
    def is_consuming(self) -> bool:
        """Whether every queue has a consumer that RabbitMQ has confirmed, or is paused on purpose; and it answers."""
        channel, consumption = self._channel, self._consumption
        if channel is None or not channel.is_open or self.refused or self._is_silent:
            return False
        return self.prefetch == 0 or (consumption is not None and consumption.is_confirmed)

    @property
    def files(self) -> list[int]:
        """The descriptor of the connection's socket, while there is one."""
        connection = self._connection
        return [] if connection is None else connection.files

    def ack(self, generation: int, tag: int) -> None:
        """Ack everything up to this tag, in one frame; a no-op if it has gone back to its queue meanwhile."""
        if generation != self.generation:
            return

        def send() -> None:
            if self._consumption is not None and self._consumption.generation == generation:
                self._consumption.ack(tag)

        self._post(send)

    def set_prefetch(self, prefetch: int) -> None:
        """Let RabbitMQ push this many; 0 pauses. Whatever is held unacked goes back to its queue first.

        Nothing of it may be acked from this very moment, not only once RabbitMQ has it again: who pauses may drop
        what it has taken from the inbox, and a later tag, acked meanwhile, would take the dropped ones along.
        """
        self.prefetch = prefetch
        self.generation = next(self._generations)
        self._post(self._reconcile)

    def _run(self) -> None:
        backoff = wait_random_exponential(multiplier=0.1, max=RECONNECT_SECONDS_MAX)
        state = RetryCallState(retry_object=None, fn=None, args=(), kwargs={})  # type: ignore[arg-type]
        while not self._stopping.is_set():
            lived = False
            try:
                if self._declare():
                    lived = self._live()
            except Exception as error:
                self._log.warning("no connection to RabbitMQ", broker=str(self._endpoint), error=describe(error))
            self._forget()
            state.attempt_number = 1 if lived else state.attempt_number + 1
            gone_seconds, self._deleted = (topology.GONE_SECONDS if self._deleted else 0.0), False
            self._stopping.wait(gone_seconds + backoff(state))

    def _declare(self) -> bool:
        """Declare the queues; whether there is at least one to consume."""
        wanted = {queue: types for queue, types in self._bindings.items() if queue not in self._mute}
        found = topology.declare(self._url, wanted, name=self._name)
        for queue, reason in found.refused.items():
            if self.refused.get(queue) != reason:
                self._log.error(
                    "this queue exists with other arguments and is not consumed; delete it or move its messages",
                    queue=queue,
                    reason=reason,
                )
        self.refused = found.refused | dict.fromkeys(self._mute, MUTE)
        if found.anew:
            self._log.info("queues declared", queues=sorted(found.anew))
            self._on_declared_anew(found.anew)
        return len(self.refused) < len(self._bindings)

    def _live(self) -> bool:
        """One connection from its opening to its end; whether it was open at all."""
        opened = False

        def on_open(connection: Any) -> None:
            nonlocal opened
            opened = True
            connection.channel(on_open_callback=self._on_channel)

        def on_end(connection: Any, error: Any) -> None:
            if not self._stopping.is_set():
                self._log.warning("connection to RabbitMQ lost", broker=str(self._endpoint), error=_text(error))
            connection.ioloop.stop()

        self._connection = Connection(
            self._endpoint.parameters, on_open_callback=on_open, on_open_error_callback=on_end, on_close_callback=on_end
        )
        if self._stopping.is_set():
            return False
        if self.refused:
            watch = threading.Thread(target=self._watch_refused, args=(self._connection,), name="refused", daemon=True)
            watch.start()
        try:
            self._connection.ioloop.start()
        except Exception as error:
            if not self._connection.is_closed:  # left open, it keeps its deliveries until it misses heartbeats
                self._connection.cut(error)
                self._connection.ioloop.start()
            raise
        return opened

    def _watch_refused(self, connection: Connection) -> None:
        """Start over once a queue that was refused can be consumed; the others are consumed meanwhile."""
        while self._connection is connection and not self._stopping.wait(REFUSED_SECONDS):
            try:
                mended = {queue for queue in self.refused if self._is_well(queue)}
            except Exception as error:
                self._log.debug("refused queues could not be looked at", error=describe(error))
                continue
            if mended and self._connection is connection:
                self._mute -= mended
                self._post(lambda: self._break("a queue that was refused can be consumed now"))
                return

    def _is_well(self, queue: str) -> bool:
        found = topology.declare(self._url, {queue: self._bindings[queue]}, name=self._name)
        self._on_declared_anew(found.anew)
        if queue in self._mute:
            topology.try_consumer(self._url, queue, name=self._name)
        return queue not in found.refused

    def _forget(self) -> None:
        """The connection is gone, and with it every delivery that was not acked: RabbitMQ has them again."""
        self.generation = next(self._generations)
        connection, self._connection, self._channel, self._consumption = self._connection, None, None, None
        if connection is not None:
            connection.ioloop.close()

    def _on_channel(self, channel: Channel) -> None:
        self._channel = channel
        channel.add_on_close_callback(lambda _, error: self._break(describe(error)))
        self._note_answer()
        self._ask(channel)
        self._reconcile()

    @property
    def _is_silent(self) -> bool:
        return time.monotonic() - self._answered_at > SILENT_SECONDS_MAX

    def _ask(self, channel: Channel) -> None:
        """Ask for the exchange, to hear whether RabbitMQ still hears us; without it we would be bound to nothing."""
        connection = self._connection
        if connection is None or channel is not self._channel or not channel.is_open:
            return
        if self._unanswered * ASK_SECONDS >= SILENT_SECONDS_MAX:
            self._give_up(f"RabbitMQ has not answered for {SILENT_SECONDS_MAX:g} s")
            return
        if self._consumption is not None and self._consumption.is_stuck:
            # It will not come, and in a minute RabbitMQ ends the connection over it: the others must not wait for that.
            self._set_aside(self._consumption.unanswered_queue)
            self._give_up("no answer to a consumer")
            return
        self._unanswered += 1
        channel.exchange_declare(EXCHANGE, passive=True, callback=lambda _: self._note_answer())
        connection.ioloop.call_later(ASK_SECONDS, lambda: self._ask(channel))

    def _note_answer(self) -> None:
        self._answered_at = time.monotonic()
        self._unanswered = 0

    def _set_aside(self, queue: str | None) -> None:
        """Consume the others: this one has no leader, as when RabbitMQ was killed right after declaring it."""
        if queue is not None:
            self._mute.add(queue)
            self._log.error(
                "RabbitMQ gives this queue no consumer; the others are consumed. If it stays so, delete the queue: it "
                "is declared again, and what the ledger knows of its jobs is dispatched again",
                queue=queue,
            )

    def _give_up(self, reason: str) -> None:
        if self._connection is not None:
            self._connection.cut(pika.exceptions.AMQPHeartbeatTimeout(reason))

    def _reconcile(self) -> None:
        """Bring the consumption to what is wanted: end the one that there is first, then begin another."""
        connection, consumption, generation = self._connection, self._consumption, self.generation
        if connection is None or not connection.is_open:
            return
        if consumption is not None and consumption.generation != generation:
            consumption.close()
        elif consumption is None and self.prefetch:
            self._consumption = Consumption(
                connection,
                queues=[queue for queue in self._bindings if queue not in self.refused],
                prefetch=self.prefetch,
                generation=generation,
                inbox=self.inbox,
                on_confirmed=self._on_confirmed,
                on_deleted=self._on_deleted,
                on_end=self._on_consumption_end,
            )

    def _on_confirmed(self) -> None:
        consumption = self._consumption
        if consumption is not None:
            self._log.debug("consuming", queues=sorted(consumption.queues), prefetch=consumption.prefetch)

    def _on_deleted(self) -> None:
        self._deleted = True
        self._break("a queue was deleted")

    def _on_consumption_end(self, error: BaseException) -> None:
        consumption, self._consumption = self._consumption, None
        if getattr(error, "reply_code", None) == INTERNAL_ERROR and consumption is not None:
            self._set_aside(consumption.unanswered_queue)
        if isinstance(error, pika.exceptions.ChannelClosedByClient):
            self._reconcile()
        else:
            self._break(describe(error))

    def _break(self, reason: str) -> None:
        if self._connection is not None and self._connection.is_open:
            if not self._stopping.is_set():
                self._log.warning("starting over with RabbitMQ", reason=reason)
            self._connection.close()

    def _close(self) -> None:
        if self._connection is not None:
            if self._connection.is_open:
                self._connection.close()
            else:
                self._connection.ioloop.stop()

    def _post(self, action: Callable[[], None]) -> None:
        connection = self._connection
        if connection is not None:
            try:
                connection.ioloop.add_callback_threadsafe(action)
            except Exception:  # the loop closed under us: what is to be done then is done by `_forget`
                self._log.debug("the connection closed before a command")


def _text(error: BaseException | str) -> str:
    return describe(error) if isinstance(error, BaseException) else error
