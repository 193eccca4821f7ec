"""Jobs for the tests: messages, offers, claims, and rows in any situation."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func as sql
from sqlalchemy import insert, select, update

from penstock.ledger.admission import Admission, Claim, Offer, admit
from penstock.ledger.database import Session
from penstock.ledger.state import Reason, State
from penstock.ledger.tables import dedup_keys, jobs
from penstock.schemas import Message
from penstock.schemas.identifiers import new_job_id

TOKEN = 7_001
OTHER_TOKEN = 7_002
PROCESS = new_job_id()
OTHER_PROCESS = new_job_id()


def a_message(body: bytes = b'{"n":1}', **fields: Any) -> Message:
    """A message with an id of its own, of type `demo.job`."""
    known: dict[str, Any] = {"id": new_job_id(), "type": "demo.job", "version": 1, "body": body}
    return Message(**(known | fields))


def an_offer(
    body: bytes = b'{"n":1}',
    *,
    state: State = State.EXECUTING,
    queue: str = "demo",
    unique_for: timedelta = timedelta(days=7),
    at_most_once: bool = False,
    known_only: bool = False,
    delay_seconds: float = 0.0,
    reason: Reason | None = None,
    key_type: str | None = None,
    **fields: Any,
) -> Offer:
    """A job at the door that is to be claimed, unless `state` says otherwise; `fields` are the message's."""
    return Offer(
        a_message(body, **fields),
        queue,
        state,
        at_most_once=at_most_once,
        unique_for=unique_for,
        known_only=known_only,
        delay_seconds=delay_seconds,
        reason=reason,
        key_type=key_type,
    )


def waiting_offer(body: bytes = b'{"n":1}', **options: Any) -> Offer:
    """A job that is accepted without being claimed."""
    return an_offer(body, state=State.AVAILABLE, **options)


def deliver(session: Session, *offers: Offer, token: int = TOKEN, process_id: str = PROCESS) -> Admission:
    """Admit a batch as a consumer does."""
    return admit(session, offers, token=token, process_id=process_id)


def claimed(session: Session, token: int = TOKEN, process_id: str = PROCESS, **options: Any) -> Claim:
    """A new job that is executing."""
    [claim] = deliver(session, an_offer(**options), token=token, process_id=process_id).claims
    return claim


def accepted(session: Session, **options: Any) -> str:
    """The id of a new job that waits."""
    offer = waiting_offer(**options)
    admit(session, [offer])
    return offer.message.id


def row_of(session: Session, job_id: str) -> Any:
    """A job's whole row."""
    return session.connection.execute(select(jobs).where(jobs.c.id == job_id)).one()


def state_of(session: Session, job_id: str) -> str:
    """A job's state; `unseen` without a row."""
    found = session.connection.execute(select(jobs.c.state).where(jobs.c.id == job_id)).scalar()
    return "unseen" if found is None else str(found)


def put(session: Session, **columns: Any) -> str:
    """A row with just these columns, whatever way could lead there; returns its id."""
    row = a_row(**columns)
    session.connection.execute(insert(jobs), [row])
    return str(row["id"])


def a_row(**columns: Any) -> dict[str, Any]:
    """The columns of a row that waits and is due, but for those given."""
    past = datetime.now(UTC) - timedelta(minutes=20)
    plain = {
        "id": new_job_id(),
        "type": "demo.job",
        "version": 1,
        "queue": "demo",
        "state": "available",
        "payload": b'{"n":1}',
        "due_at": past,
        "created_at": past,
    }
    return plain | columns


def change(session: Session, job_id: str, **columns: Any) -> None:
    """Put a row into a situation by force."""
    session.connection.execute(update(jobs).where(jobs.c.id == job_id).values(**columns))


def expire_keys(session: Session) -> None:
    """Let every dedup key's time be over."""
    session.connection.execute(update(dedup_keys).values(expires_at=datetime.now(UTC) - timedelta(hours=1)))


def count(session: Session, table: Any) -> int:
    """How many rows a table has."""
    return int(session.connection.execute(select(sql.count()).select_from(table)).scalar_one())


@contextmanager
def undone(session: Session) -> Iterator[None]:
    """A transaction that leaves no trace."""
    with suppress(_Undo), session.transaction():
        yield
        _undo()


def _undo() -> None:
    raise _Undo


class _Undo(Exception):
    pass
