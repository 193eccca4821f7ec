"""Quarantined messages, for people and for programs."""

import base64
from typing import Any

from sqlalchemy import func, select

from penstock.console.exits import problem
from penstock.console.opening import opened_ledger, time_of
from penstock.console.printing import (
    briefly,
    moment,
    print_facts,
    print_json,
    print_json_lines,
    print_line,
    print_table,
)
from penstock.console.settings import actor_of
from penstock.ledger.audit import record
from penstock.ledger.database import Session
from penstock.ledger.quarantine import list_quarantine
from penstock.ledger.tables import quarantine

FIELDS = ("id", "queue", "reason", "message_id", "type", "bytes", "created_at")


def list_messages(*, limit: int, as_json: bool) -> None:
    """One line for each message."""
    with opened_ledger() as session:
        found = list_quarantine(session, limit=limit)
        now = time_of(session)
    if as_json:
        print_json_lines(_document(row) for row in found)
    elif not found:
        print_line("nothing is in quarantine")
    else:
        rows = [
            (
                str(row["id"]),
                row["queue"],
                row["type"] or "",
                row["reason"],
                str(row["bytes"]),
                briefly(row["created_at"], now),
            )
            for row in found
        ]
        print_table(("no.", "queue", "type", "reason", "bytes", "when"), rows, keep=("no.", "bytes", "when"))


def show_message(number: int, *, with_payload: bool, actor: str | None, as_json: bool) -> None:
    """One message; a reveal of its body is in the audit before it is shown."""
    who = actor_of(actor)
    with opened_ledger() as session:
        row = _find(session, number, with_body=with_payload)
        if row is None:
            raise problem(f"nothing in quarantine has the number {number}: see `penstock quarantine list`")
        if with_payload:
            record(session, actor=who, action="show payload", target=f"quarantine {number}")
        now = time_of(session)
    body = bytes(row["body"]) if with_payload else None
    if as_json:
        shown = {} if body is None else {"body": _text(body), "body_base64": base64.b64encode(body).decode()}
        print_json({**_document(row), **shown})
        return
    print_facts(
        [
            ("number", str(row["id"])),
            ("queue", row["queue"]),
            ("reason", row["reason"]),
            ("message id", row["message_id"] or ""),
            ("type", row["type"] or ""),
            ("came", moment(row["created_at"], now)),
            ("body", f"{row['bytes']} bytes, hidden (--payload shows it)" if body is None else _text(body)),
        ]
    )


def _find(session: Session, number: int, *, with_body: bool) -> dict[str, Any] | None:
    columns = [column for column in quarantine.c if with_body or column.name != "body"]
    query = select(*columns, func.length(quarantine.c.body).label("bytes")).where(quarantine.c.id == number)
    found = session.connection.execute(query).mappings().first()
    return None if found is None else dict(found)


def _document(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in FIELDS}


def _text(body: bytes) -> str:
    return body.decode("utf-8", "backslashreplace")
