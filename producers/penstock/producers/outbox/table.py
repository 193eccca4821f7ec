"""The outbox as an SQLAlchemy table, which a service adopts into its own metadata and migrations."""

from typing import Any

from sqlalchemy import Column, DateTime, Index, Integer, LargeBinary, MetaData, String, Table, Text, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

NAME = "penstock_outbox"


class _Now(FunctionElement[Any]):
    """The database's clock; SQLite's own CURRENT_TIMESTAMP has no fractions of a second."""

    inherit_cache = True


@compiles(_Now)
def _now(element: _Now, compiler: Any, **_: Any) -> str:
    return "now()"


@compiles(_Now, "sqlite")
def _now_sqlite(element: _Now, compiler: Any, **_: Any) -> str:
    return "(strftime('%Y-%m-%d %H:%M:%f', 'now'))"


def outbox_table(metadata: MetaData) -> Table:
    """Add the outbox to `metadata`, so that `create_all` and Alembic's autogenerate make it."""
    return Table(
        NAME,
        metadata,
        Column("id", String(36).with_variant(postgresql.UUID(as_uuid=False), "postgresql"), primary_key=True),
        Column("type", Text, nullable=False),
        Column("version", Integer, nullable=False, server_default=text("1")),
        Column("payload", LargeBinary, nullable=False),
        Column("dedup_key", Text),
        Column("due_at", DateTime(timezone=True)),
        Column("tenant", Text),
        Column("correlation_id", Text),
        Column("traceparent", Text),
        Column("app_id", Text),
        Column("payload_hash", Text),
        Column("reply_to", Text),
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=_Now()),
        Column("tries", Integer, nullable=False, server_default=text("0")),
        Column("retry_at", DateTime(timezone=True)),
        Column("reason", Text),
        Index(
            f"{NAME}_retry_at",
            "retry_at",
            postgresql_where=text("retry_at IS NOT NULL"),
            sqlite_where=text("retry_at IS NOT NULL"),
        ),
    )
