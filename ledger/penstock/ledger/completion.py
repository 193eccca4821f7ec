"""The completing transaction of a handler: its writes and the job's completion commit together, or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from penstock.ledger.admission import Offer, admit_within
from penstock.ledger.database import Session, Statement, sqlstate
from penstock.ledger.dialects import Dialect
from penstock.ledger.plain_query import run_plainly

FENCED_SQLSTATE = "PS001"  # what our functions on Postgres raise, see migration 0003


class Fenced(Exception):
    """The job belongs to somebody else by now: this attempt must not write anything."""


def complete_and_commit(
    connection: Connection, *, job_id: str, token: int, result: bytes | None = None, follow_ups: tuple[Offer, ...] = ()
) -> None:
    """Complete the job and commit, in one round trip where it can be; raises `Fenced` before anything is committed."""
    if result is None and not follow_ups and connection.dialect.name == "postgresql":
        with _telling_fenced(job_id):
            # The function's exception aborts the transaction before the COMMIT.
            run_plainly(connection, f"SELECT penstock_complete('{job_id}', {token:d}, NULL); COMMIT")
    else:
        complete_within(connection, job_id=job_id, token=token, result=result, follow_ups=follow_ups)
    connection.commit()  # where it is done already, SQLAlchemy learns of it, and the server is not asked again


def complete_within(
    connection: Connection, *, job_id: str, token: int, result: bytes | None = None, follow_ups: tuple[Offer, ...] = ()
) -> None:
    """Complete the job inside the transaction of `connection`; raises `Fenced`, upon which the caller rolls back."""
    _run(connection, _COMPLETE, job_id=job_id, token=token, result=result)
    if follow_ups:
        admit_within(Session.within(connection), follow_ups)


def hold_within(connection: Connection, *, job_id: str, token: int) -> None:
    """Lock the job's row for a transaction that writes without completing it; raises `Fenced`."""
    _run(connection, _HOLD, job_id=job_id, token=token)


def is_completed_under(session: Session, *, job_id: str, token: int) -> bool:
    """Whether a COMMIT whose reply was lost has landed."""
    row = session.run(_STATE, job_id=job_id).first()
    return row is not None and row.state == "completed" and row.token == token


@contextmanager
def _telling_fenced(job_id: str) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        if sqlstate(error) == FENCED_SQLSTATE:
            raise Fenced(job_id) from None
        raise


def _run(connection: Connection, statement: Statement, *, job_id: str, **params: Any) -> None:
    with _telling_fenced(job_id):
        row = Session.within(connection).run(statement, job_id=job_id, **params).first()
    if row is None:
        raise Fenced(job_id)


def _complete(dialect: Dialect) -> str:
    if dialect.name == "postgresql":
        return "SELECT penstock_complete(:job_id, :token, :result)"
    return f"""
        UPDATE jobs SET state = 'completed', attempts = attempts + 1, finished_at = {dialect.now}, result = :result
        WHERE id = :job_id AND token = :token AND state = 'executing'
        RETURNING 1
    """


def _hold(dialect: Dialect) -> str:
    if dialect.name == "postgresql":
        return "SELECT penstock_hold(:job_id, :token)"
    return "SELECT 1 FROM jobs WHERE id = :job_id AND token = :token AND state = 'executing'"


_COMPLETE = Statement(_complete)
_HOLD = Statement(_hold)
_STATE = Statement(lambda _: "SELECT state, token FROM jobs WHERE id = :job_id")
