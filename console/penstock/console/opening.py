"""A session on the ledger for one command."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from sqlalchemy import select

from penstock.console.exits import bad_input, problem
from penstock.console.settings import ConsoleSettings
from penstock.ledger.clock import now
from penstock.ledger.database import Ledger, Session
from penstock.schemas import UnreadableMessage
from penstock.schemas.identifiers import parse_job_id


@contextmanager
def opened_ledger() -> Iterator[Session]:
    """The ledger that the environment names; raises what `failures.explain` explains.

    Opening an SQLite file that is not there would make an empty one.
    """
    ledger = Ledger(ConsoleSettings().database_url)
    if is_missing_file(ledger):
        raise problem(f"there is no ledger at {ledger}: run `penstock migrate`, or set PENSTOCK_DATABASE_URL")
    with ledger.session() as session:
        yield session


def is_missing_file(ledger: Ledger) -> bool:
    """Whether the ledger is an SQLite file that does not exist yet."""
    return ledger.dialect.name == "sqlite" and not Path(str(ledger.url.database)).exists()


def time_of(session: Session) -> datetime:
    """The time by the database's clock: the one that decides what is due."""
    time: datetime = session.connection.execute(select(now(session.dialect))).scalar_one()
    return time


def job_id_of(text: str) -> str:
    """A job id from the command line."""
    try:
        return parse_job_id(text)
    except UnreadableMessage:
        raise bad_input(f"{text!r} is not a job id: give a UUIDv7 as `penstock jobs list` prints them") from None
