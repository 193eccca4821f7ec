"""Who did what: rows are added and never changed."""

from typing import Any

from sqlalchemy import insert, select

from penstock.ledger.clock import now
from penstock.ledger.database import Session
from penstock.ledger.tables import audit


def record(session: Session, *, actor: str, action: str, target: str, detail: str | None = None) -> None:
    row = insert(audit).values(
        actor=actor, action=action, target=target, detail=detail, created_at=now(session.dialect)
    )
    session.connection.execute(row)


def list_audit(session: Session, *, limit: int = 100) -> list[dict[str, Any]]:
    """The newest first."""
    query = select(audit).order_by(audit.c.id.desc()).limit(limit)
    return [dict(row) for row in session.connection.execute(query).mappings()]
