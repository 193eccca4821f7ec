"""Schedules whose tick has come, and what is made of it."""

from datetime import UTC, datetime

from sqlalchemy import select
from tests.faults.jobs import Transfer

from penstock.ledger.database import Session
from penstock.ledger.schedules import change_schedule
from penstock.ledger.tables import jobs
from penstock.producers.schedules.changes import add
from penstock.producers.schedules.declaration import Timing
from penstock.producers.schedules.template import Template

YEARLY = Timing(cron="0 0 1 1 *", timezone="UTC", missed="one", missed_max=1)


def come(session: Session, name: str) -> str:
    """Add a schedule of a `Transfer`, and let its tick come; returns the key of its one job."""
    template = Template.of(Transfer(n=1), name=name, tick_field=None, keyring=None)
    add(session, name, timing=YEARLY, template=template, actor="test")
    change_schedule(session, name, next_at=datetime(2020, 1, 1, tzinfo=UTC))
    return f"{name}@{datetime.now(UTC).year}-01-01T00:00:00Z"


def keys_of_jobs(session: Session, name: str) -> list[str | None]:
    """The keys of all jobs that this schedule has made."""
    return list(session.connection.execute(select(jobs.c.dedup_key).where(jobs.c.correlation_id == name)).scalars())
