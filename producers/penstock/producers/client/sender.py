"""The I/O side of a publisher: one thread that owns the connection and everything that is under way.

    submit ──▶ inbox ──▶ waiting ──▶ unconfirmed ──▶ settled: confirmed, or an error
    (any thread)            ▲             │
                            └── NACK, lost connection: sent again under the same id, until the deadline

Only `start`, `post` and `request_close` may be called from other threads.
"""

import os
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from typing import Any

import structlog
from pika.adapters.select_connection import IOLoop

from penstock.producers.client import verdicts
from penstock.producers.client.backoff import Backoff
from penstock.producers.client.batch import Batch, Outgoing
from penstock.producers.client.endpoint import Endpoint, describe
from penstock.producers.client.envelope import Enclose
from penstock.producers.client.errors import PublishError
from penstock.producers.client.link import NOT_FOUND, Link
from penstock.producers.client.unconfirmed import Unconfirmed
from penstock.producers.client.verdicts import Standing

log = structlog.get_logger(__name__)

UNCONFIRMED_MAX = 10_000
UNCONFIRMED_BYTES_MAX = 32 * 1024 * 1024
BURST_MAX = 256  # messages per write, so that confirms and heartbeats are read in between
TICK_SECONDS = 0.05
BUSY_SECONDS = 1.0  # who has published a moment ago will again
GOODBYE_SECONDS = 1.0
IDLE_RECONNECT_SECONDS = 10.0
STALL_SECONDS = 10.0  # without a single confirm: a dead route, or a channel that hangs in the broker
MUTE_SECONDS = 0.9  # the same, where a deadline is over, and the next one would be in vain


class Sender:
    """Sends, confirms, sends again; see the picture above."""

    def __init__(self, *, endpoint: Endpoint, enclose: Enclose | None = None) -> None:
        self._endpoint = endpoint
        self._enclose = enclose
        self._pid = os.getpid()
        self._ioloop = IOLoop()
        self._reconnect_backoff = Backoff(first_seconds=0.05, most_seconds=2.0)
        self._nack_backoff = Backoff(first_seconds=0.02, most_seconds=1.0)
        self._link: Link | None = None
        self._ready = False
        self._blocked = False
        self._heard_at = time.monotonic()
        self._attempts = 0
        self._idle = False
        self._connect_timer: Any = None
        self._trouble = "not connected yet"
        self._inbox: deque[Batch] = deque()
        self._woken = False
        self._open: set[Batch] = set()
        self._waiting: deque[Outgoing] = deque()
        self._unconfirmed = Unconfirmed()
        self._returned: Counter[tuple[str, str]] = Counter()
        self._nacked: list[Outgoing] = []
        self._suspects: set[Outgoing] = set()
        self._ticking = False
        self._pump_due = False
        self._close_at: float | None = None
        self._stopping = False
        self._stopped = False
        self.thread = threading.Thread(target=self._run, name="penstock-publisher", daemon=True)

    # ------------------------------------------------------------------ from any thread

    def start(self) -> None:
        """Raises `RuntimeError` when the system gives no more threads."""
        try:
            self.thread.start()
        except RuntimeError:
            self._ioloop.close()
            raise

    def post(self, batch: Batch) -> None:
        """Hand over a batch. A burst of calls wakes the I/O thread once."""
        self._inbox.append(batch)
        if not self._woken:
            self._woken = True
            self._ioloop.add_callback_threadsafe(self._take_in)

    def request_close(self, timeout_seconds: float) -> None:
        """Finish what was posted, at most this long, then end the thread. Does not block."""
        if self._pid != os.getpid():
            return  # after a fork, the thread is the parent's
        close_at = time.monotonic() + timeout_seconds
        self._ioloop.add_callback_threadsafe(lambda: self._begin_close(close_at))

    @property
    def state(self) -> str:
        """`connected`, `blocked` or `disconnected`: a glance, for health checks."""
        if not self._ready:
            return "disconnected"
        return "blocked" if self._blocked else "connected"

    # ------------------------------------------------------------------ the thread

    def _run(self) -> None:
        self._ioloop.activate_poller()
        self._loop()
        self._ioloop.close()

    def _loop(self) -> None:
        while not self._stopped:
            try:
                self._ioloop.poll()
                self._ioloop.process_timeouts()
                # A signal or a time limit may have ended who posted something before he woke us.
                if self._inbox:
                    self._take_in()
            except Exception as error:
                log.exception("publisher I/O failed; reconnecting")
                self._give_up_link(error)

    def _take_in(self) -> None:
        self._woken = False
        while self._inbox:
            batch = self._inbox.popleft()
            self._open.add(batch)
            self._waiting.extend(Outgoing(batch, i, message) for i, message in enumerate(batch.messages))
        self._connect_if_idle()
        self._start_ticking()
        self._pump()

    def _pump(self) -> None:
        """Send what is waiting, as far as there is room, in one write."""
        if not (self._ready and self._waiting) or self._blocked or self._link is None:
            return
        link, sent = self._link, 0
        if not self._unconfirmed:
            self._heard_at = time.monotonic()
        link.hold()
        try:
            while self._waiting and sent < BURST_MAX and self._has_room():
                entry = self._waiting.popleft()
                if not entry.settled and not self._send(link, entry):
                    break
                sent += 1
        finally:
            link.send_held()
        if sent == BURST_MAX and not self._pump_due:
            self._pump_due = True
            self._ioloop.add_callback_threadsafe(self._pump_on)

    def _pump_on(self) -> None:
        self._pump_due = False
        self._pump()

    def _has_room(self) -> bool:
        count_max = 1 if self._suspects else UNCONFIRMED_MAX
        return len(self._unconfirmed) < count_max and self._unconfirmed.bytes < UNCONFIRMED_BYTES_MAX

    def _send(self, link: Link, entry: Outgoing) -> bool:
        """False when the link has just broken."""
        try:
            tag = link.publish(entry.message)
        except Exception as error:
            if not link.is_open:
                self._ready = False
                self._waiting.appendleft(entry)  # on_lost follows, and a new link
                return False
            # The link is well, so it is the message.
            self._settle(entry, verdicts.unencodable(entry, error))
        else:
            entry.sent = True
            self._unconfirmed.add(tag, entry)
        return True

    def _settle(self, entry: Outgoing, error: PublishError | None = None) -> None:
        self._suspects.discard(entry)
        if entry.batch.settle(entry.index, error):
            self._open.discard(entry.batch)

    # ------------------------------------------------------------------ what RabbitMQ says

    def on_confirm(self, link: Link, tag: int, *, multiple: bool, accepted: bool) -> None:
        if link is not self._link:
            return
        entries = self._unconfirmed.take(tag, multiple=multiple)
        self._attempts = 0
        self._heard_at = time.monotonic()
        if accepted:
            for entry in entries:
                self._settle(entry, self._take_return(entry) if self._returned else None)
        else:
            self._try_later(entries)
        if not self._unconfirmed:
            self._returned.clear()
        self._pump()
        self._stop_if_done()

    def on_return(self, link: Link, message_id: str, message_type: str) -> None:
        if link is self._link:
            self._returned[message_id, message_type] += 1

    def _take_return(self, entry: Outgoing) -> PublishError | None:
        """The error of a message that came back before its confirm."""
        key = (entry.message.id, entry.message.type)
        if not self._returned[key]:
            return None
        self._returned[key] -= 1
        return verdicts.unroutable(entry)

    def _try_later(self, entries: list[Outgoing]) -> None:
        """A NACK says: not taken, try again (a full queue, a leader that has just died)."""
        if not entries:
            return
        self._suspects.difference_update(entries)
        for entry in entries:
            entry.nacks += 1
        if not self._nacked:
            delay = self._nack_backoff.seconds(max(entry.nacks for entry in entries))
            self._ioloop.call_later(delay, self._send_nacked_again)
        self._nacked += entries

    def _send_nacked_again(self) -> None:
        nacked, self._nacked = self._nacked, []
        self._waiting.extendleft(reversed(nacked))
        self._pump()

    def on_blocked(self, link: Link, blocked: bool) -> None:
        if link is self._link:
            self._blocked = blocked
            self._heard_at = time.monotonic()
            log.warning("RabbitMQ blocks publishers" if blocked else "RabbitMQ takes messages again")
            self._pump()

    # ------------------------------------------------------------------ connecting

    def _connect_if_idle(self) -> None:
        """There is work now: do not wait out the long pause between the attempts of an idle publisher."""
        if self._link is None and (self._connect_timer is None or self._idle):
            if self._connect_timer is not None:
                self._ioloop.remove_timeout(self._connect_timer)
            self._connect()

    def _connect_later(self) -> None:
        self._idle = not self._open
        delay = IDLE_RECONNECT_SECONDS if self._idle else self._reconnect_backoff.seconds(self._attempts)
        self._connect_timer = self._ioloop.call_later(delay, self._connect)

    def _connect(self) -> None:
        self._connect_timer = None
        if self._link is None and not self._stopping:
            self._attempts += 1
            self._link = Link(
                parameters=self._endpoint.parameters, ioloop=self._ioloop, events=self, enclose=self._enclose
            )

    def on_ready(self, link: Link) -> None:
        if link is self._link:
            self._ready = True
            log.info("connected to RabbitMQ", broker=str(self._endpoint))
            self._pump()

    def on_channel_closed(self, link: Link, code: int, text: str) -> None:
        """One message broke a rule. Where it cannot be told which, they are sent again one at a time."""
        if link is not self._link:
            return
        in_flight = self._unconfirmed.take_all()
        if code != NOT_FOUND:  # the exchange was deleted: the next link declares it again
            if len(in_flight) == 1:
                entry = in_flight.pop()
                self._settle(entry, verdicts.refused(entry, text))
            self._suspects.update(entry for entry in in_flight if not entry.settled)
        self._waiting.extendleft(reversed(in_flight))
        link.close()
        self.on_lost(link, ConnectionError(f"RabbitMQ closed the channel: {code} {text}"))

    def on_lost(self, link: Link, error: BaseException) -> None:
        if link is not self._link:
            return
        was_ready, self._ready, self._blocked, self._link = self._ready, False, False, None
        self._returned.clear()
        self._waiting.extendleft(reversed(self._unconfirmed.take_all()))
        if self._stopping:
            self._stopped = True
            return
        refusal = self._endpoint.refusal(error)
        self._trouble = refusal or describe(error)
        if was_ready or refusal:
            log.warning("no connection to RabbitMQ", broker=str(self._endpoint), reason=self._trouble)
        if refusal:
            self._fail_all(refusal)
        else:
            self._connect_later()
        self._stop_if_done()

    def _fail_all(self, refusal: str) -> None:
        for entry in self._take_unsettled():
            self._settle(entry, verdicts.unavailable(entry, self._endpoint, refusal))

    def _give_up_link(self, error: BaseException) -> None:
        link = self._link
        if link is not None:
            self.on_lost(link, error)
            link.drop()

    # ------------------------------------------------------------------ deadlines

    def _start_ticking(self) -> None:
        is_busy = self._open or time.monotonic() - self._heard_at < BUSY_SECONDS
        if not self._ticking and is_busy:
            self._ticking = True
            self._ioloop.call_later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        self._ticking = False
        now = time.monotonic()
        overdue = [batch for batch in self._open if batch.deadline <= now]
        if overdue:
            self._expire(overdue)
        if self._unconfirmed and not self._blocked and now - self._heard_at > STALL_SECONDS:
            self._give_up_link(TimeoutError(f"no confirm for {STALL_SECONDS:g} s"))
        self._start_ticking()
        self._stop_if_done()

    def _expire(self, batches: Iterable[Batch]) -> None:
        standing = Standing(self._endpoint, self._ready, self._blocked, self._trouble)
        expired = self._take_unsettled(set(batches))
        for entry in expired:
            self._settle(entry, verdicts.overdue(entry, standing))
        # A quorum queue without a leader hangs the whole channel: what comes next must not wait behind it.
        silent_seconds = time.monotonic() - self._heard_at
        is_mute = any(entry.sent and not entry.nacks for entry in expired) and silent_seconds > MUTE_SECONDS
        if is_mute and self._ready and not self._blocked:
            self._give_up_link(TimeoutError(f"no confirm for {silent_seconds:.1f} s"))

    def _take_unsettled(self, of: set[Batch] | None = None) -> list[Outgoing]:
        """Remove and return what is under way, of all or of some batches, so that nothing piles up."""
        every = [*self._unconfirmed, *self._nacked, *self._waiting]
        taken = [entry for entry in every if of is None or entry.batch in of]
        for entry in taken:
            self._unconfirmed.forget(entry)
        self._nacked = [entry for entry in self._nacked if of is not None and entry.batch not in of]
        self._waiting = deque(entry for entry in self._waiting if of is not None and entry.batch not in of)
        return taken

    # ------------------------------------------------------------------ closing

    def _begin_close(self, close_at: float) -> None:
        self._take_in()
        self._close_at = close_at
        self._ioloop.call_later(max(0.0, close_at - time.monotonic()), self._stop_if_done)
        self._stop_if_done()

    def _stop_if_done(self) -> None:
        if self._close_at is None or self._stopping:
            return
        if self._open and time.monotonic() < self._close_at:
            return
        self._stopping = True
        for entry in self._take_unsettled():
            self._settle(entry, verdicts.closed(entry))
        if self._link is None:
            self._stopped = True
        else:
            self._link.close()
            self._ioloop.call_later(GOODBYE_SECONDS, self._stop_without_goodbye)

    def _stop_without_goodbye(self) -> None:
        """A blocked or dead broker never answers."""
        if self._link is not None:
            self._link.drop()
        self._ioloop.call_later(0.1, self._stop)

    def _stop(self) -> None:
        self._stopped = True
