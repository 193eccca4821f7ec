"""Jobs enter the ledger: deliveries that are claimed or absorbed, and jobs that are accepted without a broker.

The statements follow `transitions.admit` and `dedup.decide_key`. `INSERT … ON CONFLICT (one constraint)`
still raises on the other one under concurrency, so: insert with a targetless DO NOTHING, then update
what is claimable, then look at what is left. Every batch is sorted, so that two of them lock in one order.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from penstock.ledger.admission_statements import (
    ADD_ALIAS,
    CLAIM,
    FIRST_OF_ALIASES,
    GIVE_BACK_KEY,
    INSERT,
    KEY_HOLDERS,
    LOOK,
    PUT_OFF,
    STATES,
    TAKE_KEYS,
    TAKE_OVER_KEY,
)
from penstock.ledger.batch import in_batches
from penstock.ledger.database import Session, retry_serialization
from penstock.ledger.dedup import KeyVerdict, decide_key, payload_hash
from penstock.ledger.replies import owe_replies
from penstock.ledger.state import Reason, State
from penstock.ledger.wakeups import announce
from penstock.schemas import Contract, Message

TOKEN_LIMIT = 2**63


@dataclass(slots=True)  # not frozen: one is made for each delivery, and a frozen one costs three times as much
class Offer:
    """A job at the door. `state` is what it becomes if the ledger does not know it.

    `executing`: claim it (needs a token); `scheduled` or `available`: absorb or accept it; `dead`: record it with
    its reason. Whether it is due, the database's clock says: what is not becomes `scheduled` whatever `state` is.
    `delay_seconds` is how long it waits at least. `known_only`: its id is older than the ledger's memory, so
    that a missing row proves nothing, and it must not run.
    """

    message: Message
    queue: str
    state: State
    reason: Reason | None = None
    at_most_once: bool = False
    unique_for: timedelta = timedelta(days=7)
    delay_seconds: float = 0.0
    known_only: bool = False
    key_type: str | None = None  # the type under which its dedup key counts, where it is not its own


class Admitted(Enum):
    CLAIMED = "claimed"
    ABSORBED = "absorbed"
    DUPLICATE = "duplicate"  # known already, or an alias of a job that is
    CONFLICT = "conflict"  # the same key with another payload: recorded as dead
    GIVEN_UP = "given_up"  # nobody has known its type or version for too long: dead
    MISMATCH = "mismatch"  # the same id under another type or key: the caller quarantines it
    TOO_OLD = "too_old"  # see `known_only`: the caller quarantines it


@dataclass(slots=True)  # not frozen, see `Offer`
class Claim:
    """A job that is executing under our token, with the ledger's bytes."""

    id: str
    type: str
    version: int
    queue: str
    payload: bytes
    token: int
    attempts: int = 0
    due_at: datetime | None = None  # None: it came from the broker, and waited since its id was made
    key: str | None = None
    tenant: str | None = None
    correlation_id: str | None = None
    traceparent: str | None = None
    cancel_requested: bool = False


@dataclass(frozen=True, slots=True)
class Admission:
    """What became of each offer, by job id, and the claims to run. An alias answers with `first`'s id."""

    outcomes: dict[str, Admitted]
    claims: list[Claim]
    first: dict[str, str]


def offer(message: Message, contract: Contract, *, state: State) -> Offer:
    """An offer under a known contract."""
    return Offer(
        message=message,
        queue=contract.queue,
        state=state,
        at_most_once=contract.guarantee == "at_most_once",
        unique_for=contract.unique_for,
        key_type=contract.key_type,
    )


@retry_serialization
def admit(
    session: Session, offers: Sequence[Offer], *, token: int | None = None, process_id: str | None = None
) -> Admission:
    """Take a batch in, durably: when this returns, the ledger owns every job that is not to be quarantined.

    Claims need `token` (random 64 bits, this batch's own) and `process_id`. Asking again with the same token
    after a lost reply is safe and finds the first claim.
    """
    if token is None:
        with session.transaction():
            return admit_within(session, offers)
    return _Admitting(session, token, process_id).take(offers)


def admit_within(session: Session, offers: Sequence[Offer]) -> Admission:
    """Accept jobs in a transaction that is open already: they become durable with its commit."""
    admitting = _Admitting(session, None, None)
    in_order = sorted(offers, key=_key_of)  # over all batches together, so that no two transactions deadlock
    for batch in in_batches((offer, len(offer.message.body)) for offer in in_order):
        admitting.take(batch)
    if Admitted.ABSORBED in admitting.outcomes.values():
        announce(session)
    return Admission(admitting.outcomes, admitting.claims, admitting.first)


class _Admitting:
    def __init__(self, session: Session, token: int | None, process_id: str | None) -> None:
        self.session = session
        self.token = token
        self.process_id = process_id
        self.outcomes: dict[str, Admitted] = {}
        self.claims: list[Claim] = []
        self.first: dict[str, str] = {}
        self.keys_won: set[tuple[str, str]] = set()

    def take(self, offers: Sequence[Offer]) -> Admission:
        batch = {offer.message.id: offer for offer in reversed(offers)}  # one row per id; the first one counts
        by_id = [batch[job_id] for job_id in sorted(batch)]
        if any(offer.state is State.EXECUTING for offer in by_id):
            self._fence()
        keyed = [offer for offer in by_id if offer.message.key is not None]
        asking = [offer.message for offer in offers if offer.message.reply_to is not None]
        # An autocommitted statement spares two round trips; a key, or a reply, and its job must commit together.
        with self.session.transaction() if keyed or asking else nullcontext(self.session):
            fresh = [offer for offer in by_id if offer.message.key is None] + self._take_keys(keyed)
            left = self._insert([offer for offer in fresh if not offer.known_only])
            left += [offer for offer in fresh if offer.known_only]
            if left:
                left = self._claim_waiting(left)
            if left and self.token is not None:
                left = self._put_off(left)
            if left:
                self._look_at(left)
            self._owe_replies(asking)
        return Admission(self.outcomes, self.claims, self.first)

    def _owe_replies(self, messages: list[Message]) -> None:
        """What goes to quarantine has no job to tell of."""
        owned = [it for it in messages if self.outcomes.get(it.id) not in (Admitted.MISMATCH, Admitted.TOO_OLD)]
        owe_replies(self.session, [(it, self.first.get(it.id, it.id)) for it in owned])

    def _insert(self, offers: list[Offer]) -> list[Offer]:
        """Insert what is new; returns what was known."""
        if not offers:
            return []
        rows = [_job_row(offer) for offer in offers]
        result = self.session.run(INSERT, rows, token=self.token, process_id=self.process_id)
        inserted = {row.id: row.state for row in result}
        known = []
        for offer in offers:
            job_id = offer.message.id
            state = inserted.get(job_id)
            if state is None:
                known.append(offer)
            elif state == "executing":
                self.outcomes[job_id] = Admitted.CLAIMED
                self.claims.append(_claim_of(offer, self._fence()))
            elif offer.reason is Reason.KEY_CONFLICT:
                self.outcomes[job_id] = Admitted.CONFLICT
            else:
                self.outcomes[job_id] = Admitted.ABSORBED
        return known

    def _claim_waiting(self, offers: list[Offer]) -> list[Offer]:
        """Claim rows that wait and are due; returns the rest. The ledger's bytes are run, not the delivery's."""
        startable = [offer for offer in offers if offer.state is State.EXECUTING]
        if not startable:
            return offers
        rows = [(offer.message.id, offer.message.type, offer.message.key) for offer in startable]
        claimed = set()
        for row in self.session.run(CLAIM, rows, token=self.token, process_id=self.process_id):
            claim = read_claim(row, self._fence())
            claimed.add(claim.id)
            self.outcomes[claim.id] = Admitted.CLAIMED
            self.claims.append(claim)
        return [offer for offer in offers if offer.message.id not in claimed]

    def _put_off(self, offers: list[Offer]) -> list[Offer]:
        """Due rows that were delivered where they cannot start are due again later; returns the rest."""
        unstartable = [offer for offer in offers if offer.state is State.AVAILABLE]
        if not unstartable:
            return offers
        rows = [(it.message.id, it.message.type, it.message.key, it.reason, it.delay_seconds) for it in unstartable]
        states = {row.id: row.state for row in self.session.run(PUT_OFF, rows)}
        for job_id, state in states.items():
            self.outcomes[job_id] = Admitted.GIVEN_UP if state == State.DEAD else Admitted.ABSORBED
        return [offer for offer in offers if offer.message.id not in states]

    def _look_at(self, offers: list[Offer]) -> None:
        """What is neither new nor claimable: a duplicate, our own claim whose reply was lost, or a forgery."""
        known = {row.id: row for row in self.session.run(LOOK, [(offer.message.id,) for offer in offers])}
        for offer in offers:
            message = offer.message
            row = known.get(message.id)
            if row is None:
                self.outcomes[message.id] = Admitted.TOO_OLD if offer.known_only else Admitted.DUPLICATE
            elif row.type != message.type or row.dedup_key != message.key:
                # A tombstone knows neither type nor key.
                tombstone = row.state == State.CANCELLED and row.type == ""
                self.outcomes[message.id] = Admitted.DUPLICATE if tombstone else Admitted.MISMATCH
                if _key_of(offer) in self.keys_won:  # two processes met the same id under two keys at once
                    self.session.run(GIVE_BACK_KEY, [(*_key_of(offer), message.id)])
            elif self.token is not None and row.token == self.token and row.state == State.EXECUTING:
                self.outcomes[message.id] = Admitted.CLAIMED
                self.claims.append(read_claim(row, self.token))
            else:
                self.outcomes[message.id] = Admitted.DUPLICATE

    def _take_keys(self, offers: list[Offer]) -> list[Offer]:
        """Reserve dedup keys; returns the offers that go on to their row."""
        contenders = {_key_of(offer): offer for offer in reversed(offers) if not offer.known_only}  # one row per key
        won = set()
        if contenders:
            rows = [_key_row(contenders[key]) for key in sorted(contenders)]
            won = {(row.type, row.key) for row in self.session.run(TAKE_KEYS, rows)}
        self.keys_won |= won
        passing = [contenders[key] for key in won]
        if len(passing) < len(offers):
            winners = {offer.message.id for offer in passing}
            passing += self._settle_keys([offer for offer in offers if offer.message.id not in winners])
        return sorted(passing, key=lambda offer: offer.message.id)

    def _settle_keys(self, offers: list[Offer]) -> list[Offer]:
        ids = [(offer.message.id,) for offer in offers]
        found = self.session.run(KEY_HOLDERS, sorted({_key_of(offer) for offer in offers}))
        holders = {(row.type, row.key): _Holder(row.job_id, row.payload_hash, bool(row.expired)) for row in found}
        first = {row.id: row.job_id for row in self.session.run(FIRST_OF_ALIASES, ids)}
        holding = [(holder.job_id,) for holder in holders.values()]
        states = {row.id: State(row.state) for row in self.session.run(STATES, ids + holding)}
        passing = []
        for offer in offers:
            message = offer.message
            holder = holders.get(_key_of(offer))
            # A row of its own comes before any key: a replayed job must run though its key has gone to another.
            if message.id in states or offer.known_only:
                passing.append(offer)
            elif message.id in first:
                self._absorb(offer, first[message.id])
            elif holder is None:  # pruned or given back since we lost it
                passing += self._take_keys([offer])
            else:
                # The winner of a key in this very batch has no row yet.
                state = State.AVAILABLE if _key_of(offer) in self.keys_won else states.get(holder.job_id)
                verdict = self._judge(offer, holder, state)
                if verdict is KeyVerdict.FREE:
                    holders[_key_of(offer)] = self._take_over(offer)
                if verdict is KeyVerdict.ALIAS:
                    self._absorb(offer, holder.job_id)
                else:
                    passing.append(_conflicting(offer) if verdict is KeyVerdict.CONFLICT else offer)
        return passing

    def _judge(self, offer: Offer, holder: "_Holder", state: State | None) -> KeyVerdict:
        return decide_key(
            job_id=offer.message.id,
            payload_hash=payload_hash(offer.message),
            holder_id=holder.job_id,
            holder_hash=holder.payload_hash,
            holder_state=state,
            expired=holder.expired,
        )

    def _take_over(self, offer: Offer) -> "_Holder":
        self.session.run(TAKE_OVER_KEY, [_key_row(offer)])
        self.keys_won.add(_key_of(offer))
        return _Holder(offer.message.id, payload_hash(offer.message), expired=False)

    def _absorb(self, offer: Offer, first: str) -> None:
        self.session.run(ADD_ALIAS, [(offer.message.id, first)])
        self.outcomes[offer.message.id] = Admitted.DUPLICATE
        self.first[offer.message.id] = first

    def _fence(self) -> int:
        """The token; checked before anything is written, since nobody would free a row that runs under none."""
        if self.token is None or self.process_id is None:
            raise ValueError("an offer in state 'executing' needs a token and a process_id")
        if not -TOKEN_LIMIT <= self.token < TOKEN_LIMIT:
            raise ValueError(f"token {self.token} does not fit into 64 bits with a sign")
        return self.token


@dataclass(frozen=True, slots=True)
class _Holder:
    """Who has a key."""

    job_id: str
    payload_hash: str
    expired: bool


def read_claim(row: Any, token: int) -> Claim:
    """A claim from a row that has the columns of `CLAIMED_COLUMNS`."""
    return Claim(
        id=row.id,
        type=row.type,
        version=row.version,
        queue=row.queue,
        payload=bytes(row.payload),
        token=token,
        attempts=row.attempts,
        due_at=_aware(row.due_at),
        key=row.dedup_key,
        tenant=row.tenant,
        correlation_id=row.correlation_id,
        traceparent=row.traceparent,
        cancel_requested=row.cancel_requested_at is not None,
    )


def _aware(time: datetime | str) -> datetime:
    return datetime.fromisoformat(f"{time}+00:00") if isinstance(time, str) else time


def _claim_of(offer: Offer, token: int) -> Claim:
    message = offer.message
    return Claim(
        message.id,
        message.type,
        message.version,
        offer.queue,
        message.body,
        token,
        key=message.key,
        tenant=message.tenant,
        correlation_id=message.correlation_id,
        traceparent=message.traceparent,
    )


def _conflicting(offer: Offer) -> Offer:
    return Offer(
        offer.message,
        offer.queue,
        State.DEAD,
        Reason.KEY_CONFLICT,
        offer.at_most_once,
        known_only=offer.known_only,
        key_type=offer.key_type,
    )


def _key_of(offer: Offer) -> tuple[str, str]:
    return offer.key_type or offer.message.type, offer.message.key or offer.message.id


def _key_row(offer: Offer) -> tuple[Any, ...]:
    message = offer.message
    return *_key_of(offer), message.id, payload_hash(message), offer.unique_for.total_seconds()


def _job_row(offer: Offer) -> tuple[Any, ...]:
    message = offer.message
    return (
        message.id,
        message.type,
        message.version,
        offer.queue,
        offer.state,
        offer.reason,
        message.body,
        offer.at_most_once or None,
        message.due_at,
        offer.delay_seconds or None,
        message.key,
        message.tenant,
        message.correlation_id,
        message.traceparent,
        message.app_id,
        offer.key_type,
    )
