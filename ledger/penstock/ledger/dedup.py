"""What a dedup key decides, as a pure function, and what makes two payloads under it the same."""

import hashlib
from enum import Enum

from penstock.ledger.state import ENDED, State
from penstock.schemas import Message


class KeyVerdict(Enum):
    OWN = "own"  # the key belongs to this very job: go on with its row
    FREE = "free"  # nobody's, or its holder's time is over: take it
    ALIAS = "alias"  # the same job published twice: absorbed, answers with the first one
    CONFLICT = "conflict"  # the same key with another payload: dead, visible, never run


def decide_key(
    *, job_id: str, payload_hash: str, holder_id: str, holder_hash: str, holder_state: State | None, expired: bool
) -> KeyVerdict:
    """Judge a job that arrives under a key which `holder_id` has. `holder_state` is None when its row was pruned.

    A key is free again when it has expired *and* its job has ended, and at once when its job was cancelled.
    """
    if job_id == holder_id:
        return KeyVerdict.OWN
    ended = holder_state is None or holder_state in ENDED
    if holder_state is State.CANCELLED or (expired and ended):
        return KeyVerdict.FREE
    return KeyVerdict.ALIAS if is_same_payload(payload_hash, holder_hash) else KeyVerdict.CONFLICT


def is_same_payload(one: str, other: str) -> bool:
    """Whether two hashes are of one payload. Of sealed ones there are several, one under each key of the publisher:
    two publishers share at least one key while keys are rotated."""
    return one == other or not set(one.split(",")).isdisjoint(other.split(","))


def payload_hash(message: Message) -> str:
    """What makes two payloads under one key the same: SHA-256, byte for byte, or what their publisher says of them.

    The bytes of a payload with sealed fields differ each time; its publisher has seen it in the clear.
    """
    return message.payload_hash or hashlib.sha256(message.body).hexdigest()
