"""The SQL of `admission`: what follows `transitions.admit`, and the table of dedup keys."""

from penstock.ledger import unknown
from penstock.ledger.database import Statement
from penstock.ledger.dialects import Columns, Dialect

_JOB: Columns = {
    "id": "uuid",
    "type": "text",
    "version": "int",
    "queue": "text",
    "state": "text",
    "reason": "text",
    "payload": "json",
    "at_most_once": "bool",
    "due_at": "time",
    "delay_seconds": "float",
    "dedup_key": "text",
    "tenant": "text",
    "correlation_id": "text",
    "traceparent": "text",
    "app_id": "text",
    "key_type": "text",
}

CLAIMED_COLUMNS = (
    "CAST(jobs.id AS text) AS id, jobs.type, jobs.version, jobs.queue, jobs.payload, jobs.attempts, jobs.due_at, "
    "jobs.dedup_key, jobs.tenant, jobs.correlation_id, jobs.traceparent, jobs.cancel_requested_at"
)

CLAIMING = """
state = 'executing', token = :token, process_id = CAST(:process_id AS {id}), reason = NULL,
    dispatched_at = NULL, dispatch_number = jobs.dispatch_number + 1, started_at = {now}
"""


def claiming(dialect: Dialect) -> str:
    """The SET list that turns a waiting row into ours, as `transitions.claim` does."""
    return CLAIMING.format(id="uuid" if dialect.name == "postgresql" else "text", now=dialect.now)


def _insert(dialect: Dialect) -> str:
    delayed = dialect.later("input.delay_seconds")
    due = f"""CASE WHEN input.delay_seconds IS NULL THEN COALESCE(input.due_at, {dialect.now})
                WHEN input.due_at > {delayed} THEN input.due_at ELSE {delayed} END"""
    # Only this clock decides what is due: who offered the job may be wrong about it.
    is_later = f"(COALESCE(input.due_at > {dialect.now}, false) OR COALESCE(input.delay_seconds > 0, false))"
    executing = f"input.state = 'executing' AND NOT {is_later}"
    process = "CAST(:process_id AS uuid)" if dialect.name == "postgresql" else ":process_id"
    token = "CAST(:token AS bigint)"  # noqa: S105 - a fencing token
    return f"""
        INSERT INTO jobs (id, type, version, queue, state, reason, payload, at_most_once, token, process_id,
            due_at, created_at, started_at, finished_at, dedup_key, tenant, correlation_id, traceparent, app_id,
            key_type, unknown_since)
        SELECT input.id, input.type, input.version, input.queue,
            CASE WHEN input.state = 'dead' THEN 'dead' WHEN {is_later} THEN 'scheduled'
                WHEN input.state = 'scheduled' THEN 'available' ELSE input.state END,
            input.reason, {dialect.blob("input.payload")}, COALESCE(input.at_most_once, false),
            CASE WHEN {executing} THEN {token} END, CASE WHEN {executing} THEN {process} END,
            {due}, {dialect.now},
            CASE WHEN {executing} THEN {dialect.now} END, CASE WHEN input.state = 'dead' THEN {dialect.now} END,
            input.dedup_key, input.tenant, input.correlation_id, input.traceparent, input.app_id,
            input.key_type, CASE WHEN {unknown.IS_UNKNOWN} THEN {dialect.now} END
        FROM {dialect.rows("input", _JOB)} WHERE true
        ON CONFLICT DO NOTHING
        RETURNING CAST(id AS text) AS id, state
    """


INSERT = Statement(_insert, _JOB)

_OFFERED: Columns = {"id": "uuid", "type": "text", "key": "text"}

CLAIM = Statement(
    lambda dialect: (
        f"""
        UPDATE jobs SET {claiming(dialect)}
        FROM {dialect.rows("input", _OFFERED)}
        WHERE jobs.id = input.id AND jobs.type = input.type AND {dialect.same("jobs.dedup_key", "input.key")}
            AND jobs.state IN ('scheduled', 'available', 'retryable') AND jobs.due_at <= {dialect.now}
            AND NOT jobs.suspect
        RETURNING {CLAIMED_COLUMNS}
    """
    ),
    _OFFERED,
)

_ID: Columns = {"id": "uuid"}

_PUT_OFF: Columns = {"id": "uuid", "type": "text", "key": "text", "reason": "text", "delay_seconds": "float"}


def _put_off(dialect: Dialect) -> str:
    given_up = f"({unknown.IS_UNKNOWN} AND {unknown.too_long(dialect)})"
    return f"""
        UPDATE jobs SET
            state = CASE WHEN {given_up} THEN 'dead' ELSE jobs.state END,
            reason = COALESCE(input.reason, jobs.reason),
            due_at = CASE WHEN {given_up} THEN jobs.due_at ELSE {dialect.later(unknown.delay(dialect))} END,
            finished_at = CASE WHEN {given_up} THEN {dialect.now} END,
            unknown_since = CASE WHEN {unknown.IS_UNKNOWN} THEN {unknown.since(dialect)} ELSE jobs.unknown_since END,
            dispatched_at = NULL,
            dispatch_number = jobs.dispatch_number + 1
        FROM {dialect.rows("input", _PUT_OFF)}
        WHERE jobs.id = input.id AND jobs.type = input.type AND {dialect.same("jobs.dedup_key", "input.key")}
            AND jobs.state IN ('scheduled', 'available', 'retryable') AND jobs.due_at <= {dialect.now}
            AND NOT jobs.suspect
        RETURNING CAST(jobs.id AS text) AS id, jobs.state
    """


PUT_OFF = Statement(_put_off, _PUT_OFF)

LOOK = Statement(
    lambda dialect: (
        f"""
        SELECT {CLAIMED_COLUMNS}, jobs.state, jobs.token
        FROM jobs JOIN {dialect.rows("input", _ID)} ON jobs.id = input.id
    """
    ),
    _ID,
)

STATES = Statement(
    lambda dialect: (
        f"""
        SELECT CAST(jobs.id AS text) AS id, jobs.state
        FROM jobs JOIN {dialect.rows("input", _ID)} ON jobs.id = input.id
    """
    ),
    _ID,
)

_KEYS: Columns = {"type": "text", "key": "text", "job_id": "uuid", "payload_hash": "text", "unique_seconds": "float"}


# A job that is known already, also as an alias, takes no new key: a redelivery must not bring an expired one back.
TAKE_KEYS = Statement(
    lambda dialect: (
        f"""
        INSERT INTO dedup_keys (type, key, job_id, payload_hash, expires_at)
        SELECT input.type, input.key, input.job_id, input.payload_hash, {dialect.later("input.unique_seconds")}
        FROM {dialect.rows("input", _KEYS)}
        WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.id = input.job_id)
            AND NOT EXISTS (SELECT 1 FROM aliases WHERE aliases.id = input.job_id)
        ON CONFLICT DO NOTHING
        RETURNING type, key
    """
    ),
    _KEYS,
)

TAKE_OVER_KEY = Statement(
    lambda dialect: (
        f"""
        UPDATE dedup_keys
        SET job_id = input.job_id, payload_hash = input.payload_hash,
            expires_at = {dialect.later("input.unique_seconds")}
        FROM {dialect.rows("input", _KEYS)}
        WHERE dedup_keys.type = input.type AND dedup_keys.key = input.key
    """
    ),
    _KEYS,
)

_OWNED: Columns = {"type": "text", "key": "text", "job_id": "uuid"}

GIVE_BACK_KEY = Statement(
    lambda dialect: (
        f"""
        DELETE FROM dedup_keys WHERE (type, key, job_id) IN (
            SELECT input.type, input.key, input.job_id FROM {dialect.rows("input", _OWNED)}
        )
    """
    ),
    _OWNED,
)

_NAMES: Columns = {"type": "text", "key": "text"}

# Locks the keys, so that the states of their jobs are read afterwards, in a statement of its own: this one, when it
# has waited for another taker, sees the key as that one left it and the jobs as they were before.
KEY_HOLDERS = Statement(
    lambda dialect: (
        f"""
        SELECT dedup_keys.type, dedup_keys.key, CAST(dedup_keys.job_id AS text) AS job_id, dedup_keys.payload_hash,
            dedup_keys.expires_at <= {dialect.now} AS expired
        FROM dedup_keys JOIN {dialect.rows("input", _NAMES)}
            ON dedup_keys.type = input.type AND dedup_keys.key = input.key
        ORDER BY dedup_keys.type, dedup_keys.key
        {dialect.for_update and "FOR UPDATE OF dedup_keys"}
    """
    ),
    _NAMES,
)

FIRST_OF_ALIASES = Statement(
    lambda dialect: (
        f"""
        SELECT CAST(aliases.id AS text) AS id, CAST(aliases.job_id AS text) AS job_id
        FROM aliases JOIN {dialect.rows("input", _ID)} ON aliases.id = input.id
    """
    ),
    _ID,
)

_ALIASES: Columns = {"id": "uuid", "job_id": "uuid"}

ADD_ALIAS = Statement(
    lambda dialect: (
        f"""
        INSERT INTO aliases (id, job_id, created_at)
        SELECT input.id, input.job_id, {dialect.now} FROM {dialect.rows("input", _ALIASES)} WHERE true
        ON CONFLICT DO NOTHING
    """
    ),
    _ALIASES,
)
