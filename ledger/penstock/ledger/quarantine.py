"""Messages that could not be read: kept with their reason, never run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func as sql
from sqlalchemy import insert, select

from penstock.ledger.clock import now
from penstock.ledger.database import Session
from penstock.ledger.tables import quarantine
from penstock.schemas.message import BODY_BYTES_MAX

TEXT_LENGTH_MAX = 255


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A delivery that breaks the wire format, and why. Its body is kept byte for byte, as far as one may be long."""

    queue: str
    reason: str
    body: bytes
    message_id: str | None = None
    type: str | None = None


def put_aside(session: Session, messages: Sequence[Unreadable]) -> None:
    """Durable when it returns (or with the open transaction)."""
    if not messages:
        return
    rows = [
        {
            "queue": it.queue,
            "reason": it.reason,
            "message_id": _safe(it.message_id),
            "type": _safe(it.type),
            "body": it.body[:BODY_BYTES_MAX],  # anybody can send a hundred megabytes, and again
        }
        for it in messages
    ]
    with session.transaction():
        session.connection.execute(insert(quarantine).values(created_at=now(session.dialect)), rows)


def list_quarantine(session: Session, *, limit: int = 100) -> list[dict[str, Any]]:
    """The newest first, without their bodies."""
    columns = [column for column in quarantine.c if column.name != "body"]
    query = select(*columns, sql.length(quarantine.c.body).label("bytes")).order_by(quarantine.c.id.desc()).limit(limit)
    return [dict(row) for row in session.connection.execute(query).mappings()]


def count_quarantine(session: Session) -> int:
    return int(session.connection.execute(select(sql.count()).select_from(quarantine)).scalar_one())


def _safe(value: object) -> str | None:
    """Text from a broken message that Postgres takes: no NUL, no lone surrogates, not too long."""
    if value is None:
        return None
    text = str(value)[:TEXT_LENGTH_MAX].encode("utf-8", "replace").decode()
    return text.replace("\0", "�")
