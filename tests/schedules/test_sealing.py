"""Secrets in schedules: sealed for the schedule at rest, and for one job at each tick."""

import json
from typing import Any

import pytest
from sqlalchemy import select
from tests.schedules.jobs import MODULE, schedule_of, start
from tests.schedules.test_firing import missed_since

from penstock.ledger.database import Session
from penstock.ledger.schedules import change_schedule
from penstock.ledger.tables import jobs
from penstock.producers.schedules import every
from penstock.producers.schedules.declaration import declarations_of
from penstock.producers.schedules.declaring import declare
from penstock.producers.schedules.firing import fire, run_now
from penstock.schemas import Job, Keyring, KeyringError, Sensitive
from penstock.schemas.keyring import SealBroken

NAME = "rent"
CARD = "4111111111111111"
KEYRING = Keyring({"one": b"1" * 32})


class Charge(Job, type="demo.charge", queue="demo"):
    """A job with a secret."""

    card: Sensitive[str]


def charging(name: str = NAME) -> Any:
    """A function that makes one, by the clock."""

    def make() -> Charge:
        return Charge(card=Sensitive(CARD))

    return every("0 * * * *", name=name)(make)


def started(session: Session, *names: str, keyring: Keyring | None = KEYRING) -> None:
    """What a worker does with these when it starts."""
    declare(session, {MODULE: [it for name in names for it in declarations_of(charging(name))]}, keyring=keyring)


def cards(session: Session) -> dict[str, str]:
    """The sealed card of each job, by its id."""
    rows = session.connection.execute(select(jobs.c.id, jobs.c.payload, jobs.c.state)).all()
    assert {row.state for row in rows} <= {"available"}
    return {row.id: json.loads(row.payload)["card"] for row in rows}


def test_each_job_has_the_secret_sealed_for_itself(session: Session) -> None:
    """Nothing in the clear is written, and what is at rest opens for no job."""
    started(session, NAME)
    at_rest = bytes(schedule_of(session, NAME).payload)
    assert CARD.encode() not in at_rest
    for _ in range(2):
        run_now(session, NAME, actor="ann", keyring=KEYRING)
    found = cards(session)
    assert len(found) == 2
    for job_id, sealed in found.items():
        assert json.loads(KEYRING.open(sealed, job_id=job_id, field="card")) == CARD
        with pytest.raises(SealBroken):
            KEYRING.open(json.loads(at_rest)["card"], job_id=job_id, field="card")


def test_a_tick_that_comes_again_is_still_the_same_job(session: Session) -> None:
    """As it does when the clock is set back: its bytes differ, but not what they say."""
    started(session, NAME)
    missed_since(session, 0, name=NAME)
    assert fire(session, NAME, keyring=KEYRING) is not None
    missed_since(session, 0, name=NAME)
    rotated = Keyring({"two": b"2" * 32, "one": b"1" * 32})
    again = fire(session, NAME, keyring=rotated)
    assert again is not None
    assert list(cards(session)) == again.job_ids


def test_a_secret_that_is_moved_to_another_schedule_stays_sealed(session: Session) -> None:
    """Whoever can write to the ledger cannot make another job open it."""
    started(session, NAME, "other")
    change_schedule(session, "other", payload=schedule_of(session, NAME).payload)
    job_id = run_now(session, "other", actor="ann", keyring=KEYRING)
    assert job_id is not None
    with pytest.raises(SealBroken, match="sealed for another job"):
        KEYRING.open(cards(session)[job_id], job_id=job_id, field="card")


@pytest.mark.parametrize(
    ("keyring", "said"),
    [
        (None, "schedule rent: field 'card' is sealed, and must be sealed for each job: set PENSTOCK_KEYRING"),
        (Keyring({"two": b"2" * 32}), "schedule rent: field 'card': no key 'one' in the keyring"),
        (Keyring({"one": b"2" * 32}), "schedule rent: field 'card': it was changed on its way"),
    ],
)
def test_who_has_not_the_key_fires_nothing(session: Session, keyring: Keyring | None, said: str) -> None:
    """The tick waits for somebody who has it."""
    started(session, NAME)
    first = missed_since(session, 0, name=NAME)
    with pytest.raises(KeyringError, match=said):
        fire(session, NAME, keyring=keyring)
    assert cards(session) == {}
    found = fire(session, NAME, keyring=KEYRING)
    assert found is not None
    assert found.ticks == [first]


def test_without_a_key_a_worker_does_not_declare_it(session: Session) -> None:
    """It names the schedule, and nothing is written."""
    with pytest.raises(KeyringError, match="schedule rent: a job with sensitive fields needs a keyring"):
        started(session, NAME, keyring=None)
    assert start(session) == []
