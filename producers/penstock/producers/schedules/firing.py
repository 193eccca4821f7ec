"""A tick that has come becomes a job, exactly once however many look for it.

The row of the schedule moves on in the transaction that accepts the job; and the job's dedup key is the schedule and
the tick, so that not even a clock that is set back makes a second one.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from penstock.ledger.admission import Offer, admit_within
from penstock.ledger.audit import record
from penstock.ledger.database import Session, retry_serialization
from penstock.ledger.failpoints import Failpoint, reach
from penstock.ledger.schedules import Schedule, change_schedule, lock_schedule
from penstock.ledger.state import State
from penstock.producers.schedules.cron import Cron
from penstock.producers.schedules.sealing import sealed_for_job
from penstock.producers.schedules.template import at_tick
from penstock.schemas import Keyring, Message
from penstock.schemas.identifiers import new_job_id

# A tick that is dealt with later than this was missed.
ON_TIME = timedelta(seconds=60)
APP_ID = "penstock-schedule"


@dataclass(frozen=True, slots=True)
class Fired:
    """What has become of a schedule's due ticks; `job_ids` in the order of `ticks`."""

    name: str
    ticks: list[datetime]
    job_ids: list[str]
    is_late: bool


def decide(schedule: Schedule) -> tuple[list[datetime], datetime | None]:
    """(the due ticks that get a job, the first tick to come)."""
    cron = Cron(schedule.cron, schedule.timezone)
    if schedule.next_at is None:
        return [], None
    count = schedule.missed_max if schedule.missed == "all" else 1
    ticks = cron.newest(first=schedule.next_at, until=schedule.now, count=count)
    if schedule.missed == "skip":
        ticks = [tick for tick in ticks if schedule.now - tick <= ON_TIME]
    return ticks, cron.after(schedule.now)


@retry_serialization
def fire(session: Session, name: str, *, keyring: Keyring | None = None) -> Fired | None:
    """Deal with the due ticks of a schedule; None if somebody else does, or has done it.

    Raises `KeyringError` where it has sealed fields and nobody a key.
    """
    with session.transaction():
        schedule = lock_schedule(session, name, skip_locked=True)
        if schedule is None or not schedule.is_due or schedule.next_at is None:
            return None
        reach(Failpoint.TICK_TAKEN)
        ticks, next_at = decide(schedule)
        offers = [_offer(schedule, tick, key=_key(name, tick), keyring=keyring) for tick in ticks]
        columns: dict[str, Any] = {"next_at": next_at}
        job_ids: list[str] = []
        if offers:
            first = admit_within(session, offers).first
            job_ids = [first.get(offer.message.id, offer.message.id) for offer in offers]
            columns |= {"last_tick": ticks[-1], "last_fired_at": schedule.now, "last_job_id": job_ids[-1]}
        change_schedule(session, name, **columns)
        reach(Failpoint.TICK_WRITTEN)
    reach(Failpoint.TICK_FIRED)
    return Fired(name, ticks, job_ids, is_late=schedule.now - schedule.next_at > ON_TIME)


@retry_serialization
def run_now(session: Session, name: str, *, actor: str, keyring: Keyring | None = None) -> str | None:
    """One job of the schedule at once, apart from its ticks; returns its id, None if there is no such schedule.

    Raises `KeyringError` as `fire` does.
    """
    with session.transaction():
        schedule = lock_schedule(session, name)
        if schedule is None:
            return None
        offer = _offer(schedule, schedule.now, key=None, keyring=keyring)
        admit_within(session, [offer])
        record(session, actor=actor, action="run schedule", target=name, detail=offer.message.id)
        change_schedule(session, name, last_fired_at=schedule.now, last_job_id=offer.message.id)
        return offer.message.id


def _offer(schedule: Schedule, tick: datetime, *, key: str | None, keyring: Keyring | None) -> Offer:
    job_id = new_job_id()
    payload = at_tick(bytes(schedule.payload), schedule.tick_field, tick)
    body, payload_hash = sealed_for_job(payload, name=schedule.name, job_id=job_id, key=key, keyring=keyring)
    message = Message(
        id=job_id,
        type=schedule.type,
        version=schedule.version,
        body=body,
        key=key,
        payload_hash=payload_hash,
        due_at=None if key is None else tick,
        app_id=APP_ID,
        correlation_id=schedule.name,
    )
    return Offer(
        message,
        schedule.queue,
        State.AVAILABLE,
        at_most_once=schedule.at_most_once,
        unique_for=timedelta(seconds=schedule.unique_seconds),
        key_type=schedule.key_type,
    )


def _key(name: str, tick: datetime) -> str:
    return f"{name}@{tick.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
