"""The SQL of a job of which something is not known where it arrived: `put_off` and `put_back` of `transitions`."""

from penstock.ledger.dialects import Dialect
from penstock.ledger.transitions import UNKNOWN_DELAY_SECONDS_MAX, UNKNOWN_SECONDS_MAX

IS_UNKNOWN = "COALESCE(input.reason IN ('unknown_type', 'unknown_version', 'unknown_key'), false)"


def too_long(dialect: Dialect) -> str:
    """Whether nobody who met the job has known it for as long as it may wait for that."""
    return f"COALESCE({dialect.seconds_since('jobs.unknown_since')} >= {UNKNOWN_SECONDS_MAX}, false)"


def delay(dialect: Dialect) -> str:
    """Seconds until it is tried again: at least what was asked for, and the longer, the longer it has waited."""
    age = dialect.seconds_since("jobs.unknown_since")
    most = UNKNOWN_DELAY_SECONDS_MAX
    grown = f"CASE WHEN {age} > {most} THEN {most} ELSE {age} END"
    return f"CASE WHEN {IS_UNKNOWN} AND {grown} > input.delay_seconds THEN {grown} ELSE input.delay_seconds END"


def since(dialect: Dialect) -> str:
    """Since when it has not been known, now at the latest."""
    return f"COALESCE(jobs.unknown_since, {dialect.now})"
