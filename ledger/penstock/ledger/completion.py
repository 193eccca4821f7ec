"""The completing transaction of a handler: its writes and the job's completion commit together, or not at all."""

from sqlalchemy import Connection

from penstock.ledger.admission import Offer, admit_within
from penstock.ledger.database import Session, Statement


class Fenced(Exception):
    """The job belongs to somebody else by now: this attempt must not write anything."""


def complete_within(
    connection: Connection, *, job_id: str, token: int, result: bytes | None = None, follow_ups: tuple[Offer, ...] = ()
) -> None:
    """Complete the job inside the transaction of `connection`; raises `Fenced`, upon which the caller rolls back."""
    session = Session.within(connection)
    done = session.run(_COMPLETE, job_id=job_id, token=token, result=result)
    if done.rowcount != 1:
        raise Fenced(job_id)
    if follow_ups:
        admit_within(session, follow_ups)


def hold_within(connection: Connection, *, job_id: str, token: int) -> None:
    """Lock the job's row for a transaction that writes without completing it; raises `Fenced`."""
    session = Session.within(connection)
    if session.run(_HOLD, job_id=job_id, token=token).first() is None:
        raise Fenced(job_id)


def is_completed_under(session: Session, *, job_id: str, token: int) -> bool:
    """Whether a COMMIT whose reply was lost has landed."""
    row = session.run(_STATE, job_id=job_id).first()
    return row is not None and row.state == "completed" and row.token == token


_COMPLETE = Statement(
    lambda dialect: (
        f"""
        UPDATE jobs SET state = 'completed', attempts = attempts + 1, finished_at = {dialect.now}, result = :result
        WHERE id = :job_id AND token = :token AND state = 'executing'
    """
    )
)

_HOLD = Statement(
    lambda dialect: (
        f"""
        SELECT 1 FROM jobs WHERE id = :job_id AND token = :token AND state = 'executing' {dialect.for_update}
    """
    )
)

_STATE = Statement(lambda _: "SELECT state, token FROM jobs WHERE id = :job_id")
