"""The rows of schedules. What a tick is and what follows from one is decided in the producers' room."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from penstock.ledger.clock import now
from penstock.ledger.database import Session
from penstock.ledger.tables import schedules

# In place of the module, of what no code declares.
AT_RUN_TIME = ""

_INSERT: dict[str, Any] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A schedule at the database's `now`. `next_at` is the first tick that has not been dealt with."""

    name: str
    module: str
    cron: str
    timezone: str
    missed: str
    missed_max: int
    declared: str
    type: str
    version: int
    queue: str
    payload: bytes
    tick_field: str | None
    at_most_once: bool
    unique_seconds: int
    key_type: str | None
    paused: bool
    removed_at: datetime | None
    next_at: datetime | None
    last_tick: datetime | None
    last_fired_at: datetime | None
    last_job_id: str | None
    created_at: datetime
    now: datetime

    @property
    def is_declared(self) -> bool:
        """Whether it is, or was, in the code; else somebody has added it at run time."""
        return self.module != AT_RUN_TIME

    @property
    def is_active(self) -> bool:
        """Whether its ticks fire."""
        return not self.paused and self.removed_at is None

    @property
    def is_due(self) -> bool:
        return self.is_active and self.next_at is not None and self.next_at <= self.now


def list_schedules(session: Session) -> list[Schedule]:
    """All of them, by name."""
    query = select(schedules, now(session.dialect).label("now")).order_by(schedules.c.name)
    return [Schedule(**row) for row in session.connection.execute(query).mappings()]


def find_schedule(session: Session, name: str) -> Schedule | None:
    return _found(session, select(schedules, now(session.dialect).label("now")).where(schedules.c.name == name))


def lock_schedule(session: Session, name: str, *, skip_locked: bool = False) -> Schedule | None:
    """The row, ours until the transaction ends; None if there is none, or if somebody else has it."""
    query = select(schedules, now(session.dialect).label("now")).where(schedules.c.name == name)
    return _found(session, query.with_for_update(of=schedules, skip_locked=skip_locked))


def due_schedules(session: Session) -> list[str]:
    """The names of those that have a tick to be dealt with."""
    query = select(schedules.c.name).where(
        schedules.c.next_at <= now(session.dialect), ~schedules.c.paused, schedules.c.removed_at.is_(None)
    )
    return list(session.connection.execute(query.order_by(schedules.c.next_at)).scalars())


def add_schedule(session: Session, name: str, **columns: Any) -> bool:
    """Add a row; false if there is one of this name."""
    row = _INSERT[session.dialect.name](schedules).values(name=name, created_at=now(session.dialect), **columns)
    added = session.connection.execute(row.on_conflict_do_nothing().returning(schedules.c.name))
    return added.first() is not None


def change_schedule(session: Session, name: str, **columns: Any) -> None:
    session.connection.execute(update(schedules).where(schedules.c.name == name).values(**columns))


def delete_schedule(session: Session, name: str) -> None:
    session.connection.execute(delete(schedules).where(schedules.c.name == name))


def remove_schedules(session: Session, *, modules: Collection[str], but: Collection[str]) -> list[str]:
    """What these modules had declared and declare no more fires no more; returns the names."""
    gone = (
        update(schedules)
        .where(schedules.c.module.in_(modules), schedules.c.name.not_in(but), schedules.c.removed_at.is_(None))
        .values(removed_at=now(session.dialect))
        .returning(schedules.c.name)
    )
    return sorted(session.connection.execute(gone).scalars())


def _found(session: Session, query: Any) -> Schedule | None:
    row = session.connection.execute(query).mappings().first()
    return None if row is None else Schedule(**row)
