"""The outbox as plain DDL, for services that do not use SQLAlchemy. A test compares it with `outbox_table`."""

_POSTGRES = """\
CREATE TABLE penstock_outbox (
    id uuid PRIMARY KEY,
    type text NOT NULL,
    version integer NOT NULL DEFAULT 1,
    payload bytea NOT NULL,
    dedup_key text,
    due_at timestamptz,
    tenant text,
    correlation_id text,
    traceparent text,
    app_id text,
    payload_hash text,
    reply_to text,
    created_at timestamptz NOT NULL DEFAULT now(),
    tries integer NOT NULL DEFAULT 0,
    retry_at timestamptz,
    reason text
);
CREATE INDEX penstock_outbox_retry_at ON penstock_outbox (retry_at) WHERE retry_at IS NOT NULL;
"""

_SQLITE = """\
CREATE TABLE penstock_outbox (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    type TEXT NOT NULL,
    version INTEGER NOT NULL DEFAULT 1,
    payload BLOB NOT NULL,
    dedup_key TEXT,
    due_at DATETIME,
    tenant TEXT,
    correlation_id TEXT,
    traceparent TEXT,
    app_id TEXT,
    payload_hash TEXT,
    reply_to TEXT,
    created_at DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    tries INTEGER NOT NULL DEFAULT 0,
    retry_at DATETIME,
    reason TEXT
);
CREATE INDEX penstock_outbox_retry_at ON penstock_outbox (retry_at) WHERE retry_at IS NOT NULL;
"""

# By SQLAlchemy's name of the dialect.
DDL = {"postgresql": _POSTGRES, "sqlite": _SQLITE}
