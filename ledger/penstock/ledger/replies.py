"""What is owed to publishers who gave an address for replies: the receipt of the job that runs, and its result."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Text, case, cast, delete, func, or_, outerjoin, select, tuple_, update

from penstock.ledger.clock import now
from penstock.ledger.database import Session, Statement
from penstock.ledger.dialects import Columns
from penstock.ledger.state import ENDED
from penstock.ledger.tables import jobs, replies
from penstock.schemas import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """Something to be said about job `job_id` to whoever published `id`. `state` is None when the job has left.

    `asked_at` is as the database writes it, to the last digit: whoever asks again has another one.
    """

    id: str
    reply_to: str
    job_id: str
    correlation_id: str | None
    asked_at: str
    receipt_sent_at: datetime | None
    type: str | None
    state: str | None
    reason: str | None
    attempts: int | None
    result: bytes | None
    finished_at: datetime | None

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED


def owe_replies(session: Session, published: Sequence[tuple[Message, str]]) -> None:
    """Note what was published with an address, each with the id of the job that runs; in the transaction of the job."""
    rows = {(it.id, str(it.reply_to)): (job_id, it.correlation_id) for it, job_id in published}
    if rows:
        session.run(_OWE, [(*key, *rows[key]) for key in sorted(rows)])


def owed_replies(session: Session, *, limit: int, without: Collection[str] = ()) -> list[Owed]:
    """What can be said now, the longest owed first; nothing to the queues in `without`."""
    shown = [jobs.c[name] for name in ("type", "state", "reason", "attempts", "result", "finished_at")]
    query = (
        select(replies.c.id, replies.c.reply_to, replies.c.job_id, replies.c.correlation_id, replies.c.receipt_sent_at)
        .add_columns(_ASKED_AT.label("asked_at"), *shown)
        .select_from(_WITH_JOBS)
        .where(_can_be_said(), replies.c.reply_to.not_in(without))
        .order_by(replies.c.created_at)
        .limit(limit)
    )
    return [Owed(**row) for row in session.connection.execute(query).mappings()]


def replies_lag(session: Session) -> tuple[int, float]:
    """(how many replies could be said now, and for how many seconds the oldest of them could have been)."""
    since = case((replies.c.receipt_sent_at.is_(None), replies.c.created_at), else_=jobs.c.finished_at)
    query = select(func.count(), func.min(since), now(session.dialect)).select_from(_WITH_JOBS).where(_can_be_said())
    count, oldest, time = session.connection.execute(query).one()
    return count, 0.0 if oldest is None else max(0.0, (time - oldest).total_seconds())


def receipts_sent(session: Session, sent: Sequence[Owed]) -> None:
    """The result is still owed."""
    if sent:
        values = update(replies).where(_these(sent)).values(receipt_sent_at=now(session.dialect))
        session.connection.execute(values)


def replies_done(session: Session, done: Sequence[Owed]) -> None:
    """Nothing is owed any more, or to nobody."""
    if done:
        session.connection.execute(delete(replies).where(_these(done)))


def _can_be_said() -> ColumnElement[bool]:
    """A receipt that has not been sent, the result of a job that has ended, or nothing, where the job has left."""
    return or_(replies.c.receipt_sent_at.is_(None), jobs.c.state.in_(sorted(ENDED)), jobs.c.id.is_(None))


def _these(owed: Sequence[Owed]) -> ColumnElement[bool]:
    """But for those that somebody has asked for once more since they were read."""
    row = tuple_(replies.c.id, replies.c.reply_to, _ASKED_AT)
    return row.in_([(it.id, it.reply_to, it.asked_at) for it in owed])


_ASKED_AT = cast(replies.c.created_at, Text)
_WITH_JOBS = outerjoin(replies, jobs, jobs.c.id == replies.c.job_id)
_REPLIES: Columns = {"id": "uuid", "reply_to": "text", "job_id": "uuid", "correlation_id": "text"}

# Whoever asks once more is answered once more.
_OWE = Statement(
    lambda dialect: (
        f"""
        INSERT INTO replies (id, reply_to, job_id, correlation_id, created_at)
        SELECT input.id, input.reply_to, input.job_id, input.correlation_id, {dialect.now}
        FROM {dialect.rows("input", _REPLIES)} WHERE true
        ON CONFLICT (id, reply_to) DO UPDATE SET receipt_sent_at = NULL, created_at = excluded.created_at
    """
    ),
    _REPLIES,
)
