"""Processes and their heartbeats, and leases on work that one of them does."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import update
from tests.ledger.samples import OTHER_PROCESS, PROCESS, claimed

from penstock.ledger.database import Session
from penstock.ledger.leases import give_lease_back, take_lease
from penstock.ledger.processes import Process, beat, deregister, list_processes, orphans, register
from penstock.ledger.tables import leases


def test_a_process_is_known_from_its_registration_to_its_end(session: Session) -> None:
    """Each beat counts up; after the end there is nothing to beat."""
    process = Process(PROCESS, "pool", "host", 42, None, 0)
    register(session, process)
    assert list_processes(session) == [process]
    assert beat(session, PROCESS)
    assert beat(session, PROCESS)
    assert [it.beat for it in list_processes(session)] == [2]
    deregister(session, PROCESS)
    assert list_processes(session) == []
    assert not beat(session, PROCESS)


def test_a_process_that_was_given_up_learns_it_from_its_next_beat(session: Session) -> None:
    """It must stop: its jobs belong to others."""
    register(session, Process(PROCESS, "pool", "host", 42, "/run/lock", 0))
    register(session, Process(OTHER_PROCESS, "pool", "host", 43, None, 0))
    deregister(session, PROCESS)
    assert not beat(session, PROCESS)
    assert beat(session, OTHER_PROCESS)


def test_jobs_under_a_process_that_nobody_knows_are_found(session: Session) -> None:
    """It died between its claim and its registration, or was given up while it claimed."""
    claimed(session)
    claimed(session)
    claimed(session, process_id=OTHER_PROCESS)
    register(session, Process(OTHER_PROCESS, "pool", "host", 43, None, 0))
    assert orphans(session) == [PROCESS]
    deregister(session, OTHER_PROCESS)
    assert sorted(orphans(session)) == sorted([PROCESS, OTHER_PROCESS])


def test_one_holder_has_a_lease_and_renews_it(session: Session) -> None:
    """Leases of different names do not meet."""
    assert take_lease(session, name="dispatcher", holder=PROCESS, seconds=60)
    assert take_lease(session, name="dispatcher", holder=PROCESS, seconds=60)
    assert not take_lease(session, name="dispatcher", holder=OTHER_PROCESS, seconds=60)
    assert take_lease(session, name="rescuer", holder=OTHER_PROCESS, seconds=60)


def test_a_lease_that_has_run_out_is_anybodys(session: Session) -> None:
    """By the clock of the database."""
    take_lease(session, name="dispatcher", holder=PROCESS, seconds=60)
    session.connection.execute(update(leases).values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))
    assert take_lease(session, name="dispatcher", holder=OTHER_PROCESS, seconds=60)
    assert not take_lease(session, name="dispatcher", holder=PROCESS, seconds=60)


def test_only_its_holder_gives_a_lease_back(session: Session) -> None:
    """A late goodbye must not take it from the next one."""
    take_lease(session, name="dispatcher", holder=PROCESS, seconds=60)
    give_lease_back(session, name="dispatcher", holder=OTHER_PROCESS)
    assert not take_lease(session, name="dispatcher", holder=OTHER_PROCESS, seconds=60)
    give_lease_back(session, name="dispatcher", holder=PROCESS)
    assert take_lease(session, name="dispatcher", holder=OTHER_PROCESS, seconds=60)
