"""Keys for the HTTP gateway: 256 random bits, of which the ledger has only the hash."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, insert, or_, select, update

from penstock.ledger.audit import record
from penstock.ledger.clock import now
from penstock.ledger.database import Session
from penstock.ledger.tables import api_keys

PREFIX = "penstock"
SECRET_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key without its secret. `scopes` are as `penstock.producers.gateway` reads them."""

    id: str
    name: str
    secret_hash: str
    scopes: tuple[str, ...]
    tenant: str | None = None
    per_minute: int | None = None
    expires_at: datetime | None = None

    def fits(self, text: str) -> bool:
        """Whether this is the whole key; takes as long for every wrong one."""
        return hmac.compare_digest(self.secret_hash, hash_of(text))


def new_key_text() -> tuple[str, str]:
    """A key's public id, and the whole key, to be shown once: `penstock_<id>_<secret>`."""
    key_id = secrets.token_hex(6)
    return key_id, f"{PREFIX}_{key_id}_{secrets.token_urlsafe(SECRET_BYTES)}"


def id_in(text: str) -> str | None:
    """The public id in what may be a key."""
    parts = text.split("_", 2)
    return parts[1] if len(parts) == 3 and parts[0] == PREFIX else None


def hash_of(text: str) -> str:
    """SHA-256 is enough for 256 random bits: there is nothing to guess."""
    return hashlib.sha256(text.encode()).hexdigest()


def add_key(session: Session, key: ApiKey, *, actor: str) -> None:
    """Store a new key."""
    with session.transaction():
        record(session, actor=actor, action="create key", target=key.id, detail=" ".join(key.scopes))
        _insert(session, key)


def rotate_key(session: Session, key_id: str, *, new_id: str, new_hash: str, until: datetime, actor: str) -> bool:
    """A new key with the same rights; the old one ends at `until` at the latest. False if there is no such good key."""
    with session.transaction():
        old = next((key for key in usable_keys(session) if key.id == key_id), None)
        if old is None:
            return False
        ends = min(until, old.expires_at or until)
        record(session, actor=actor, action="rotate key", target=key_id, detail=new_id)
        _insert(session, replace(old, id=new_id, secret_hash=new_hash, expires_at=None))
        _change(session, api_keys.c.id == key_id, expires_at=ends, replaced_by=new_id)
        return True


def revoke_key(session: Session, key_id: str, *, actor: str) -> bool:
    """End a key now; false if there is none that could be ended."""
    with session.transaction():
        record(session, actor=actor, action="revoke key", target=key_id)
        still = and_(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
        return _change(session, still, revoked_at=now(session.dialect)) == 1


def note_use(session: Session, ids: Iterable[str]) -> None:
    """These keys were used just now."""
    for key_id in sorted(ids):
        _change(session, api_keys.c.id == key_id, last_used_at=now(session.dialect))


def usable_keys(session: Session) -> list[ApiKey]:
    """All keys that are good now, by the database's clock."""
    good = and_(
        api_keys.c.revoked_at.is_(None),
        or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now(session.dialect)),
    )
    columns = [api_keys.c[name] for name in ApiKey.__dataclass_fields__]
    rows = session.connection.execute(select(*columns).where(good)).mappings()
    return [ApiKey(**{**row, "scopes": tuple(row["scopes"].split())}) for row in rows]


def list_keys(session: Session) -> list[dict[str, Any]]:
    """All keys that ever were, the oldest first, without their hashes."""
    columns = [column for column in api_keys.c if column.name != "secret_hash"]
    query = select(*columns).order_by(api_keys.c.created_at, api_keys.c.id)
    return [dict(row) for row in session.connection.execute(query).mappings()]


def _insert(session: Session, key: ApiKey) -> None:
    values = {name: getattr(key, name) for name in ApiKey.__dataclass_fields__} | {"scopes": " ".join(key.scopes)}
    session.connection.execute(insert(api_keys).values(**values, created_at=now(session.dialect)))


def _change(session: Session, which: ColumnElement[bool], **values: Any) -> int:
    return session.connection.execute(update(api_keys).where(which).values(**values)).rowcount
