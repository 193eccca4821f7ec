"""The intake: decides how much to claim, claims it in one batch, and hands it to the threads.

One thread with a session of its own. `AmqpIntake` claims what RabbitMQ has delivered and acks once the claim is
durable; `LedgerIntake`, in a file of its own, claims straight from the ledger.
"""

from __future__ import annotations

import secrets
import threading
import time
from queue import Empty
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError
from tenacity import RetryCallState, wait_random_exponential

from penstock.ledger import claims as ledger_claims
from penstock.ledger.admission import Admission, Admitted, Claim, Offer, admit
from penstock.ledger.batch import BATCH_BYTES_MAX, BATCH_JOBS_MAX
from penstock.ledger.database import LedgerUnavailable, Session, is_bad_data
from penstock.ledger.dialects import BadValue
from penstock.ledger.dispatches import suspect_lost
from penstock.ledger.failpoints import Failpoint, reach
from penstock.ledger.quarantine import Unreadable, put_aside
from penstock.ledger.settlement import Outcome
from penstock.ledger.state import Reason, State
from penstock.workers.sessions import close_quietly

if TYPE_CHECKING:
    from penstock.ledger.database import Ledger
    from penstock.workers.consumption import Delivery
    from penstock.workers.deliveries import Deliveries
    from penstock.workers.holding import Holding
    from penstock.workers.metrics import Metrics
    from penstock.workers.reading import Reader
    from penstock.workers.registry import Registry
    from penstock.workers.settler import Settler

LOOK_AHEAD_JOBS_MAX = 1000
# With all that has run and waits to be settled: where a statement of handlers takes long, that is more and more.
HELD_JOBS_MAX = 5000
PREFETCH_MAX = 2000
# RabbitMQ counts what it pushes ahead by messages; how many that may be, their size decides.
INBOX_BYTES_MAX = 32 * 1024 * 1024
STALE_SECONDS = 1.0
POLL_SECONDS = 0.05
BUSY_POLL_SECONDS = 0.005
OUTAGE_WAIT_SECONDS_MAX = 2.0
UNKNOWN_DELAY_SECONDS = 30.0


class Intake:
    """What both kinds share: capacity, the session, outages, handing back."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        holding: Holding,
        registry: Registry,
        settler: Settler[Any],
        metrics: Metrics,
        process_id: str,
        log: Any,
    ) -> None:
        self.ledger = ledger
        self.holding = holding
        self.registry = registry
        self.settler = settler
        self.metrics = metrics
        self.process_id = process_id
        self.log = log
        self.room = threading.Event()  # set by a thread that finds nothing ready
        self.stopping = threading.Event()
        self.ticked_at = time.monotonic()
        self.is_connected = False
        self._session: Session | None = None
        self._oldest_ready_at = 0.0
        self._thread = threading.Thread(target=self._loop, name="intake", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Take nothing more; hand back what has not started."""
        self.stopping.set()
        self.room.set()
        self._thread.join(timeout=15)
        self.hand_back_ready()

    @property
    def is_healthy(self) -> bool:
        """Whether the loop turns and the ledger answers it."""
        return self.is_connected and time.monotonic() - self.ticked_at < 10.0

    def hand_back_ready(self) -> None:
        """Release claims that no thread has started: they are due again at once, without an attempt used up."""
        count = 0
        while True:
            try:
                item = self.holding.ready.get_nowait()
            except Empty:
                break
            if item is None:
                continue
            claim = item[0]
            self.holding.handed_back += 1
            self.settler.put(Outcome(claim.id, claim.token, State.AVAILABLE, counts=False))
            count += 1
        if count:
            self.log.info("claims handed back", jobs=count)

    def _loop(self) -> None:
        state = RetryCallState(retry_object=None, fn=None, args=(), kwargs={})  # type: ignore[arg-type]
        wait = wait_random_exponential(multiplier=0.05, max=OUTAGE_WAIT_SECONDS_MAX)
        while not self.stopping.is_set():
            self.ticked_at = time.monotonic()
            try:
                if self._session is None:
                    self._session = self.ledger.session()
                    self._on_connected(self._session)
                self.is_connected = True
                self._turn(self._session)
                state.attempt_number = 1
            except (DBAPIError, LedgerUnavailable) as error:
                self.is_connected = False
                self.log.warning("nothing is claimed until the ledger answers", error=type(error).__name__)
                self._drop_session()
                self._on_outage()
                self.stopping.wait(wait(state))
                state.attempt_number += 1
            except Exception:
                self.log.exception("the intake stumbled")
                self._drop_session()
                self._on_outage()
                self.stopping.wait(1.0)
        self._on_stopped()
        self._drop_session()

    def _turn(self, session: Session) -> None:
        raise NotImplementedError

    def _on_connected(self, session: Session) -> None:
        """A new session: find out what became of claims whose reply was lost."""
        for token in list(self.holding.tokens_in_flight):
            self._start(ledger_claims.read_back(session, token=token, process_id=self.process_id))
            self.holding.tokens_in_flight.discard(token)

    def _on_outage(self) -> None:
        """The ledger does not answer."""

    def _on_stopped(self) -> None:
        """The loop has ended."""

    def _new_token(self) -> int:
        """A fencing token; known as in flight before the claim is sent, so that no self-check releases it."""
        token = secrets.randbits(63)
        self.holding.tokens_in_flight.add(token)
        return token

    def _capacity(self) -> int:
        """How many jobs can start soon: idle threads, and what was started in the last 100 ms."""
        if not self.holding.may_start():
            return 0
        holding = self.holding
        ahead = min(LOOK_AHEAD_JOBS_MAX, holding.started_lately())
        room = min(holding.threads + ahead - holding.outstanding, HELD_JOBS_MAX - len(holding.claims))
        if room <= 0:
            return 0
        # While every thread is busy anyway, let a batch gather; claims of two jobs cost as much as of fifty.
        if holding.outstanding >= holding.threads and room < min(ahead // 2, BATCH_JOBS_MAX):
            return 0
        return min(room, BATCH_JOBS_MAX)

    def _wait_for_room(self) -> None:
        self._hand_back_stale()
        self.room.clear()
        busy = self.holding.outstanding > self.holding.threads
        self.room.wait(BUSY_POLL_SECONDS if busy else POLL_SECONDS)

    def _hand_back_stale(self) -> None:
        # What is ready was handed over when it was last empty or later, and no earlier than what was taken last.
        since = max(self._oldest_ready_at, self.holding.taken_at)
        if not self.holding.ready.empty() and time.monotonic() - since > STALE_SECONDS:
            self.hand_back_ready()

    def _start(self, claims: list[Claim]) -> None:
        """Hand claims to the threads."""
        now = time.monotonic()
        holding = self.holding
        if holding.ready.empty():
            self._oldest_ready_at = now
        for claim in claims:
            entry = self.registry.find(claim.type, claim.version)
            if claim.id in holding.claims:
                continue  # an earlier run of it is still in a thread; the self-check hands this claim back
            holding.claims[claim.id] = claim
            if entry is None:
                self._put_back_unknown(claim)
                continue
            holding.claimed += 1
            holding.ready.put((claim, entry, now))

    def _put_back_unknown(self, claim: Claim) -> None:
        known_type = self.registry.knows_type(claim.type)
        reason = Reason.UNKNOWN_VERSION if known_type else Reason.UNKNOWN_TYPE
        self.settler.put(
            Outcome(claim.id, claim.token, State.AVAILABLE, reason, counts=False, delay_seconds=UNKNOWN_DELAY_SECONDS)
        )

    def _drop_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            close_quietly(session)


class AmqpIntake(Intake):
    """Claims what RabbitMQ has delivered."""

    def __init__(self, *, deliveries: Deliveries, reader: Reader, **shared: Any) -> None:
        super().__init__(**shared)
        self._deliveries = deliveries
        self._reader = reader
        self._held: list[Delivery] = []  # taken from the inbox, for lack of room not claimed
        self._held_since = 0.0
        self._body_bytes = 1  # of a delivery lately, rather too much than too little
        self.declared_anew: set[str] = set()

    def _turn(self, session: Session) -> None:
        self._suspect_lost(session)
        capacity = self._capacity()
        if capacity == 0:
            self._wait_for_room()
            self._give_back_stale()
            return
        self._adapt_prefetch()
        batch = self._take(capacity)
        if batch:
            self._claim(session, batch)

    def _take(self, capacity: int) -> list[Delivery]:
        """Up to `capacity` deliveries, fewer if they are large; waits a moment for the first."""
        inbox = self._deliveries.inbox
        batch, self._held = self._held[:capacity], self._held[capacity:]
        try:
            if not batch:
                batch.append(inbox.get(timeout=POLL_SECONDS))
            size = len(batch[0].body)
            while len(batch) < capacity and size < BATCH_BYTES_MAX:
                batch.append(delivery := inbox.get_nowait())
                size += len(delivery.body)
        except Empty:
            pass
        if batch:
            self._body_bytes = max(size // len(batch), self._body_bytes * 9 // 10, 1)
        generation = self._deliveries.generation
        return [delivery for delivery in batch if delivery.generation == generation]

    def _claim(self, session: Session, batch: list[Delivery]) -> None:
        """One round trip and one commit; then the ack, on the channel that brought them."""
        token = self._new_token()
        offers: list[Offer] = []
        unreadable: list[Unreadable] = []
        for delivery in batch:
            read = self._reader.read(delivery)
            if isinstance(read, Offer):
                offers.append(read)
            else:
                unreadable.append(read)
        reach(Failpoint.DELIVERED)
        admission = self._admit(session, offers, token)
        reach(Failpoint.CLAIMED)
        unreadable += _mismatched(offers, admission)
        put_aside(session, unreadable)
        last = batch[-1]
        self._deliveries.ack(last.generation, last.tag)
        reach(Failpoint.ACKED)
        self._start(admission.claims)
        self.holding.tokens_in_flight.discard(token)
        self.metrics.admitted(offers, admission, unreadable)
        for item in unreadable:
            self.log.warning("message quarantined", queue=item.queue, reason=item.reason)

    def _admit(self, session: Session, offers: list[Offer], token: int) -> Admission:
        """Admit a batch; when the database refuses a value, find the guilty ones and quarantine only those."""
        if not offers:
            return Admission({}, [], {})
        try:
            return admit(session, offers, token=token, process_id=self.process_id)
        except (DBAPIError, BadValue) as error:
            if not is_bad_data(error):
                raise
        if len(offers) == 1:
            return Admission({offers[0].message.id: Admitted.MISMATCH}, [], {})
        middle = len(offers) // 2
        first = self._admit(session, offers[:middle], token)
        second = self._admit(session, offers[middle:], token)
        return Admission(first.outcomes | second.outcomes, first.claims + second.claims, first.first | second.first)

    def _adapt_prefetch(self) -> None:
        """Let RabbitMQ push ahead as fast as jobs are started, if they are small; when paused, what can start now."""
        deliveries, queues = self._deliveries, self._deliveries.queues
        most = max(self.holding.threads, min(PREFETCH_MAX, INBOX_BYTES_MAX // self._body_bytes))
        each = max(1, most // queues)  # RabbitMQ counts by consumer, and each queue has one
        if deliveries.prefetch == 0:
            deliveries.set_prefetch(max(1, self.holding.idle_threads // queues))
        elif deliveries.prefetch > 2 * each:
            deliveries.set_prefetch(each)
        elif 2 * self.holding.started_lately() > deliveries.prefetch * queues and deliveries.prefetch < each:
            deliveries.set_prefetch(min(each, 4 * deliveries.prefetch))

    def _give_back_stale(self) -> None:
        """Deliveries that cannot start soon are not held: another process may have room for them."""
        deliveries = self._deliveries
        if deliveries.prefetch == 0:
            self._held = []
            return
        if not self._held:
            try:
                self._held.append(deliveries.inbox.get_nowait())
            except Empty:
                return
            self._held_since = time.monotonic()
        elif self._held[0].generation != deliveries.generation:
            self._held = []
        elif time.monotonic() - self._held_since > STALE_SECONDS:
            self._pause()

    def _pause(self) -> None:
        """Consume nothing and hold nothing; what is in the inbox belongs to an old generation from now on."""
        self._held = []
        self._deliveries.set_prefetch(0)

    def _on_outage(self) -> None:
        self._pause()

    def _on_stopped(self) -> None:
        self._pause()

    def _suspect_lost(self, session: Session) -> None:
        """Queues that had to be declared anew have lost whatever was dispatched to them."""
        while self.declared_anew:
            queue = self.declared_anew.pop()
            rows = suspect_lost(session, queue=queue, older_seconds=0)
            if rows:
                self.log.warning("a queue was declared anew; its jobs are dispatched again", queue=queue, jobs=rows)


def _mismatched(offers: list[Offer], admission: Admission) -> list[Unreadable]:
    reasons = {
        Admitted.MISMATCH: "message_id is known under another type or dedup-key, or the ledger refuses a value",
        Admitted.TOO_OLD: "message_id is older than the ledger's memory and not known to it",
    }
    return [
        Unreadable(offer.queue, reasons[outcome], offer.message.body, offer.message.id, offer.message.type)
        for offer in offers
        if (outcome := admission.outcomes.get(offer.message.id)) in reasons
    ]
