"""The states of a job and the reasons of its ends. There are no others."""

from enum import StrEnum


class State(StrEnum):
    SCHEDULED = "scheduled"  # due later, because somebody asked for that
    AVAILABLE = "available"  # due
    EXECUTING = "executing"  # claimed under a token
    RETRYABLE = "retryable"  # failed, due later
    COMPLETED = "completed"
    DEAD = "dead"
    CANCELLED = "cancelled"


WAITING = frozenset({State.SCHEDULED, State.AVAILABLE, State.RETRYABLE})
ENDED = frozenset({State.COMPLETED, State.DEAD, State.CANCELLED})


class Reason(StrEnum):
    """Why a job is dead (first group), cancelled or parked."""

    ATTEMPTS = "attempts"
    PERMANENT = "permanent"
    CRASH = "crash"
    OUTCOME_UNKNOWN = "outcome_unknown"
    KEY_CONFLICT = "key_conflict"
    INVALID_PAYLOAD = "invalid_payload"
    INFRASTRUCTURE = "infrastructure"

    DISCARDED = "discarded"
    CANCELLED = "cancelled"

    UNKNOWN_TYPE = "unknown_type"
    UNKNOWN_VERSION = "unknown_version"
    UNKNOWN_KEY = "unknown_key"
