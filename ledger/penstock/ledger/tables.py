"""The tables of the ledger. Migrations make them; a test compares the two."""

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    TypeDecorator,
    text,
)
from sqlalchemy.dialects import postgresql

metadata = MetaData()

# Ids are text of 36 characters to Python and to SQLite, and 16 bytes to Postgres.
Id = String(36).with_variant(postgresql.UUID(as_uuid=False), "postgresql")


class Time(TypeDecorator[datetime]):
    """An aware UTC datetime: `timestamptz` on Postgres; SQLite keeps text without a zone, which sorts in time order."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


# Counts up on both: SQLite only numbers INTEGER primary keys.
Serial = BigInteger().with_variant(Integer(), "sqlite")

IS_WAITING = "state IN ('scheduled', 'available', 'retryable')"


def _partial(name: str, *columns: Column[object] | str, where: str) -> Index:
    return Index(name, *columns, postgresql_where=text(where), sqlite_where=text(where))


jobs = Table(
    "jobs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("type", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("queue", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("payload", LargeBinary, nullable=False),
    Column("at_most_once", Boolean, nullable=False, server_default=text("false")),
    Column("token", BigInteger),
    Column("process_id", Id),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("crashes", SmallInteger, nullable=False, server_default=text("0")),
    Column("losses", SmallInteger, nullable=False, server_default=text("0")),
    Column("troubles", SmallInteger, nullable=False, server_default=text("0")),
    Column("suspect", Boolean, nullable=False, server_default=text("false")),
    Column("due_at", Time, nullable=False),
    Column("dispatched_at", Time),
    Column("dispatch_number", Integer, nullable=False, server_default=text("0")),
    Column("cancel_requested_at", Time),
    Column("created_at", Time, nullable=False),
    Column("started_at", Time),
    Column("finished_at", Time),
    Column("dedup_key", Text),
    Column("tenant", Text),
    Column("correlation_id", Text),
    Column("traceparent", Text),
    Column("app_id", Text),
    Column("error", Text),
    Column("fingerprint", Text),
    Column("result", LargeBinary),
    # Since when whoever met the job has not known its type or version.
    Column("unknown_since", Time),
    # The type under which its dedup key counts, where that is not its own: types that were renamed share one.
    Column("key_type", Text),
    _partial("jobs_due", "queue", "due_at", where=f"{IS_WAITING} AND dispatched_at IS NULL"),
    _partial("jobs_dispatched", "queue", "dispatched_at", where=f"{IS_WAITING} AND dispatched_at IS NOT NULL"),
    # Only for whoever asks by process: on `state` alone the planner, told by its statistics that nothing executes,
    # takes this index for a batch that knows its ids, and compares everything that executes with every row of it.
    _partial("jobs_executing", "process_id", where="state = 'executing' AND process_id IS NOT NULL"),
    _partial("jobs_suspect", "queue", where=f"suspect AND {IS_WAITING}"),
    _partial("jobs_dead", "type", "fingerprint", where="state = 'dead'"),
    _partial("jobs_tenant", "tenant", "id", where="tenant IS NOT NULL"),
    # Half-empty pages leave room for the one update that every job gets.
    postgresql_with={"fillfactor": 70},
)

dedup_keys = Table(
    "dedup_keys",
    metadata,
    Column("type", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("job_id", Id, nullable=False),
    Column("payload_hash", Text, nullable=False),
    Column("expires_at", Time, nullable=False),
    PrimaryKeyConstraint("type", "key"),
    Index("dedup_keys_expires_at", "expires_at"),
)

aliases = Table(
    "aliases",
    metadata,
    Column("id", Id, primary_key=True),
    Column("job_id", Id, nullable=False, index=True),
    Column("created_at", Time, nullable=False),
)

# Only what went wrong: failures, crashes, losses. A job that completed at once leaves no row here.
attempts = Table(
    "attempts",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("job_id", Id, nullable=False, index=True),
    Column("attempt", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("error_class", Text),
    Column("message", Text),
    Column("traceback", Text),
    Column("fingerprint", Text),
    Column("process_id", Id),
    Column("created_at", Time, nullable=False),
)

effects = Table(
    "effects",
    metadata,
    Column("job_id", Id, nullable=False),
    Column("step", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("intended_at", Time, nullable=False),
    Column("done_at", Time),
    Column("result", LargeBinary),
    PrimaryKeyConstraint("job_id", "step"),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("queue", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("message_id", Text),
    Column("type", Text),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", Time, nullable=False),
)

processes = Table(
    "processes",
    metadata,
    Column("id", Id, primary_key=True),
    Column("pool", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("lock_path", Text),
    Column("beat", BigInteger, nullable=False, server_default=text("0")),
    Column("started_at", Time, nullable=False),
    Column("beaten_at", Time, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Id, nullable=False),
    Column("expires_at", Time, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("secret_hash", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("tenant", Text),
    Column("per_minute", Integer),
    Column("created_at", Time, nullable=False),
    Column("expires_at", Time),
    Column("revoked_at", Time),
    Column("last_used_at", Time),
    Column("replaced_by", Text),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("detail", Text),
    Column("created_at", Time, nullable=False),
)

# Jobs that come by the clock. `declared` is the timing as the code has it, which somebody may have changed since.
schedules = Table(
    "schedules",
    metadata,
    Column("name", Text, primary_key=True),
    Column("module", Text, nullable=False),
    Column("cron", Text, nullable=False),
    Column("timezone", Text, nullable=False),
    Column("missed", Text, nullable=False),
    Column("missed_max", Integer, nullable=False),
    Column("declared", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("queue", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("tick_field", Text),
    Column("at_most_once", Boolean, nullable=False),
    Column("unique_seconds", BigInteger, nullable=False),
    Column("key_type", Text),
    Column("paused", Boolean, nullable=False, server_default=text("false")),
    Column("removed_at", Time),
    Column("next_at", Time),
    Column("last_tick", Time),
    Column("last_fired_at", Time),
    Column("last_job_id", Id),
    Column("created_at", Time, nullable=False),
)

# Who wants to hear what becomes of a job: `id` is the one that was published, `job_id` the one that runs.
replies = Table(
    "replies",
    metadata,
    Column("id", Id, nullable=False),
    Column("reply_to", Text, nullable=False),
    Column("job_id", Id, nullable=False),
    Column("correlation_id", Text),
    Column("receipt_sent_at", Time),
    Column("created_at", Time, nullable=False),
    PrimaryKeyConstraint("id", "reply_to"),
)
