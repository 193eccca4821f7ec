"""Job ids: UUIDv7 (RFC 9562), in time order, so that the ledger can be pruned by id."""

from datetime import UTC, datetime

import uuid_utils

from penstock.schemas.errors import UnreadableMessage

# 48 bits of milliseconds reach the year 10889, which a datetime does not know.
_CALENDAR_SECONDS_MAX = 253_402_300_799


def new_job_id() -> str:
    """A fresh UUIDv7 in its canonical 36-character form."""
    return str(uuid_utils.uuid7())


def parse_job_id(text: object) -> str:
    """The canonical form of a job id from outside; raises `UnreadableMessage` unless it is a UUIDv7."""
    if text is None:
        raise UnreadableMessage("message_id", "is missing; set it to a UUIDv7")
    try:
        parsed = uuid_utils.UUID(text if isinstance(text, str) else "")
    except ValueError:
        raise UnreadableMessage("message_id", "is not a UUID; set it to a UUIDv7") from None
    if parsed.version != 7:
        raise UnreadableMessage("message_id", f"is a UUIDv{parsed.version}; set it to a UUIDv7")
    return str(parsed)


def job_id_time(job_id: str) -> datetime:
    """When the id was made, to the millisecond, by the clock of its maker; the end of the calendar at the latest."""
    return datetime.fromtimestamp(min(job_id_seconds(job_id), _CALENDAR_SECONDS_MAX), tz=UTC)


def job_id_seconds(job_id: str) -> float:
    """The same in seconds since the epoch: the first 48 bits of a UUIDv7 are milliseconds (RFC 9562, 5.7)."""
    return int(job_id[:8] + job_id[9:13], 16) / 1000
