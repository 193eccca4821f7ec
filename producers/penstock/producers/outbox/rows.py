"""A row of the outbox, to and from the message that it stands for."""

from datetime import UTC
from typing import Any, NamedTuple

from penstock.schemas import Message
from penstock.schemas.message import read_message


class Row(NamedTuple):
    """A row as the relay reads it. `due_at` is text: what no clock can show must not fail its whole batch."""

    id: str
    type: str
    version: int
    payload: bytes | str
    dedup_key: str | None
    due_at: str | None
    tenant: str | None
    correlation_id: str | None
    traceparent: str | None
    app_id: str | None
    payload_hash: str | None
    reply_to: str | None


COLUMNS = Row._fields


def write_row(message: Message, *, time_as_text: bool) -> dict[str, Any]:
    """The columns of a message."""
    due_at: Any = message.due_at
    if due_at is not None and time_as_text:
        due_at = due_at.astimezone(UTC).isoformat(sep=" ", timespec="milliseconds")
    return {
        "id": message.id,
        "type": message.type,
        "version": message.version,
        "payload": message.body,
        "dedup_key": message.key,
        "due_at": due_at,
        "tenant": message.tenant,
        "correlation_id": message.correlation_id,
        "traceparent": message.traceparent,
        "app_id": message.app_id,
        "payload_hash": message.payload_hash,
        "reply_to": message.reply_to,
    }


def read_row(row: Row) -> Message:
    """The message of a row, whoever has written it; raises `UnreadableMessage` as a worker would."""
    headers = {
        "schema-version": row.version,
        "dedup-key": row.dedup_key,
        "due-at": row.due_at,
        "tenant": row.tenant,
        "traceparent": row.traceparent,
        **({} if row.payload_hash is None else {"payload-hash": row.payload_hash}),
    }
    body = row.payload if isinstance(row.payload, bytes) else str(row.payload).encode()
    return read_message(
        message_id=row.id,
        type=row.type,
        content_type=None,
        correlation_id=row.correlation_id,
        app_id=row.app_id,
        headers=headers,
        body=body,
        reply_to=row.reply_to,
    )
