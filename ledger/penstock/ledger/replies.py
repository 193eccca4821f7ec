"""What is owed to publishers who gave an address for replies: the receipt of the job that runs, and its result."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, delete, or_, select, tuple_, update

from penstock.ledger.clock import now
from penstock.ledger.database import Session, Statement
from penstock.ledger.dialects import Columns
from penstock.ledger.state import ENDED
from penstock.ledger.tables import jobs, replies
from penstock.schemas import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """Something to be said about job `job_id` to whoever published `id`. `state` is None when the job has left."""

    id: str
    reply_to: str
    job_id: str
    correlation_id: str | None
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


def owed_replies(session: Session, *, limit: int) -> list[Owed]:
    """Receipts that have not been sent, and the results of jobs that have ended; the longest owed first."""
    shown = [jobs.c[name] for name in ("type", "state", "reason", "attempts", "result", "finished_at")]
    query = (
        select(replies.c.id, replies.c.reply_to, replies.c.job_id, replies.c.correlation_id, replies.c.receipt_sent_at)
        .add_columns(*shown)
        .outerjoin_from(replies, jobs, jobs.c.id == replies.c.job_id)
        .where(or_(replies.c.receipt_sent_at.is_(None), jobs.c.state.in_(sorted(ENDED)), jobs.c.id.is_(None)))
        .order_by(replies.c.created_at)
        .limit(limit)
    )
    return [Owed(**row) for row in session.connection.execute(query).mappings()]


def receipts_sent(session: Session, sent: Sequence[Owed]) -> None:
    """The result is still owed."""
    if sent:
        values = update(replies).where(_these(sent)).values(receipt_sent_at=now(session.dialect))
        session.connection.execute(values)


def replies_refused(session: Session, refused: Sequence[Owed]) -> None:
    """Their queue takes nothing for now: the others come first."""
    if refused:
        values = update(replies).where(_these(refused)).values(created_at=now(session.dialect))
        session.connection.execute(values)


def replies_done(session: Session, done: Sequence[Owed]) -> None:
    """Nothing is owed any more, or to nobody."""
    if done:
        session.connection.execute(delete(replies).where(_these(done)))


def _these(owed: Sequence[Owed]) -> ColumnElement[bool]:
    return tuple_(replies.c.id, replies.c.reply_to).in_([(it.id, it.reply_to) for it in owed])


_REPLIES: Columns = {"id": "uuid", "reply_to": "text", "job_id": "uuid", "correlation_id": "text"}

# Whoever asks once more is answered once more.
_OWE = Statement(
    lambda dialect: (
        f"""
        INSERT INTO replies (id, reply_to, job_id, correlation_id, created_at)
        SELECT input.id, input.reply_to, input.job_id, input.correlation_id, {dialect.now}
        FROM {dialect.rows("input", _REPLIES)} WHERE true
        ON CONFLICT (id, reply_to) DO UPDATE SET receipt_sent_at = NULL
    """
    ),
    _REPLIES,
)
