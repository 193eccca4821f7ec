"""The wire format, free of any AMQP library: one message, written and read.

The table of properties and headers is in `docs/wire.md`.
"""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pydantic_core

from penstock.schemas.contract import NAME_LENGTH_MAX, VERSION_MAX, check_name
from penstock.schemas.errors import ContractError, UnreadableMessage
from penstock.schemas.identifiers import new_job_id, parse_job_id
from penstock.schemas.job import Job
from penstock.schemas.keyring import KEY_ID, KEYS_MAX, Keyring
from penstock.schemas.sensitive import Seals

EXCHANGE = "penstock.jobs"
CONTENT_TYPE = "application/json"

BODY_BYTES_MAX = 1024 * 1024
BODY_DEPTH_MAX = 64
KEY_LENGTH_MAX = 255
TEXT_LENGTH_MAX = 255

_DIGEST = f"{KEY_ID}:[A-Za-z0-9_-]{{43}}"
DIGESTS_PATTERN = f"^{_DIGEST}(,{_DIGEST}){{0,{KEYS_MAX - 1}}}$"
_DIGESTS = re.compile(DIGESTS_PATTERN)
# Queues that RabbitMQ has named, direct reply-to, and those that are called so.
DIRECT_REPLY_TO = "amq.rabbitmq.reply-to"
REPLY_PREFIXES = ("amq.gen-", DIRECT_REPLY_TO, "penstock.replies.")

_UNSAFE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
# One that never ends reaches to the end, so that nothing is looked at twice.
_STRING = re.compile(rb'"[^"]*+(?:"|\Z)')
_STEP = {0x7B: 1, 0x5B: 1, 0x7D: -1, 0x5D: -1}
_NO_STRUCTURE = bytes(set(range(256)) - set(_STEP) - {0x22})


@dataclass(slots=True, kw_only=True)  # not frozen: one is made for each delivery, and frozen costs three times as much
class Message:
    """One job on its way: what the AMQP properties, headers and body of the wire table say.

    `key` is the dedup key; without one the job id is its own key. `due_at` is aware and in UTC. `reply_to` is where
    the publisher hears what becomes of the job; what the ledger dispatches has none, as the ledger keeps it.
    """

    id: str
    type: str
    version: int
    body: bytes
    key: str | None = None
    due_at: datetime | None = None
    tenant: str | None = None
    correlation_id: str | None = None
    traceparent: str | None = None
    app_id: str | None = None
    payload_hash: str | None = None  # what tells payloads under one key apart, where their bytes always differ
    reply_to: str | None = None

    @classmethod
    def of(
        cls,
        job: Job,
        *,
        key: str | None = None,
        due_at: datetime | None = None,
        delay: timedelta | None = None,
        job_id: str | None = None,
        tenant: str | None = None,
        correlation_id: str | None = None,
        reply_to: str | None = None,
        traceparent: str | None = None,
        app_id: str | None = None,
        keyring: Keyring | None = None,
    ) -> "Message":
        """Wrap a job for publishing; raises `UnreadableMessage` for what no reader would accept.

        It is due at `due_at`, or after `delay`.
        `keyring` seals its sensitive fields; raises `KeyringError` where there are some and no keyring.
        """
        if not isinstance(job, Job):
            raise UnreadableMessage("job", f"must be an instance of a Job class, like AddRow(n=1), no {_told(job)}")
        contract = job.contract()
        job_id = new_job_id() if job_id is None else parse_job_id(job_id)
        body = job.to_body() if not job.__sensitive__ else job.to_body(Seals(keyring, job_id))
        check_body(body)
        return cls(
            id=job_id,
            type=contract.type,
            version=contract.version,
            body=body,
            key=_text("dedup-key", key, KEY_LENGTH_MAX),
            due_at=_aware(due_at) if delay is None else _after(delay, due_at),
            tenant=_text("tenant", tenant, TEXT_LENGTH_MAX),
            correlation_id=_text("correlation_id", correlation_id, TEXT_LENGTH_MAX),
            traceparent=_text("traceparent", traceparent, TEXT_LENGTH_MAX),
            app_id=_text("app_id", app_id, TEXT_LENGTH_MAX),
            payload_hash=None if key is None or not job.__sensitive__ else _digests_of(job, key, keyring),
            reply_to=None if reply_to is None else _reply_queue(reply_to),
        )

    @classmethod
    def raw(
        cls,
        *,
        type: str,  # noqa: A002 - named as the AMQP property
        body: bytes,
        version: int = 1,
        key: str | None = None,
        due_at: datetime | None = None,
    ) -> "Message":
        """A message whose payload is JSON already, of a type that has no contract here; raises `UnreadableMessage`."""
        check_body(body)
        _check_version("version", version)
        return cls(
            id=new_job_id(),
            type=_type_name(type),
            version=version,
            body=body,
            key=_text("dedup-key", key, KEY_LENGTH_MAX),
            due_at=_aware(due_at),
        )

    def headers(self) -> dict[str, str | int]:
        """The AMQP headers; `due-at` is RFC 3339 in UTC."""
        headers: dict[str, str | int] = {"schema-version": self.version}
        if self.key is not None:
            headers["dedup-key"] = self.key
        if self.due_at is not None:
            headers["due-at"] = self.due_at.isoformat()
        if self.tenant is not None:
            headers["tenant"] = self.tenant
        if self.traceparent is not None:
            headers["traceparent"] = self.traceparent
        if self.payload_hash is not None:
            headers["payload-hash"] = self.payload_hash
        return headers


def read_message(
    *,
    message_id: str | None,
    type: str | None,  # noqa: A002 - named as the AMQP property
    content_type: str | None,
    correlation_id: str | None,
    app_id: str | None,
    headers: Mapping[str, Any] | None,
    body: bytes,
    reply_to: str | None = None,
) -> Message:
    """Check a delivery against the wire table; raises `UnreadableMessage` with the part that is wrong."""
    if content_type not in (None, CONTENT_TYPE):
        raise UnreadableMessage("content_type", "must be application/json")
    job_id = parse_job_id(message_id)
    check_body(body)
    given = headers or {}
    version = given.get("schema-version", 1)
    _check_version("header schema-version", version)
    due_at = given.get("due-at")
    return Message(
        id=job_id,
        type=_type_name(type),
        version=version,
        body=body,
        key=_text("header dedup-key", given.get("dedup-key"), KEY_LENGTH_MAX),
        due_at=None if due_at is None else _read_time(due_at),
        tenant=_text("header tenant", given.get("tenant"), TEXT_LENGTH_MAX),
        correlation_id=_text("correlation_id", correlation_id, TEXT_LENGTH_MAX),
        traceparent=_text("header traceparent", given.get("traceparent"), TEXT_LENGTH_MAX),
        app_id=_text("app_id", app_id, TEXT_LENGTH_MAX),
        payload_hash=_read_digests(given["payload-hash"]) if "payload-hash" in given else None,
        reply_to=None if reply_to is None else _reply_queue(reply_to),
    )


def check_body(body: bytes) -> None:
    """Raises `UnreadableMessage` unless `body` is one JSON object within the limits of size and depth."""
    if len(body) > BODY_BYTES_MAX:
        raise UnreadableMessage("body", f"has {len(body)} bytes; at most {BODY_BYTES_MAX} are allowed")
    check_depth(body, levels_max=BODY_DEPTH_MAX)
    try:
        parsed = pydantic_core.from_json(body, allow_inf_nan=False, cache_strings=False)
    except ValueError:
        raise UnreadableMessage("body", "is not JSON in UTF-8") from None
    if parsed.__class__ is not dict:
        raise UnreadableMessage("body", "must be a JSON object")


def check_depth(body: bytes, *, levels_max: int) -> None:
    """Raises `UnreadableMessage` if `body` is nested deeper; whether it is JSON at all is not looked at."""
    if body.count(b"{") + body.count(b"[") > levels_max and _depth(body) > levels_max:
        raise UnreadableMessage("body", f"is nested deeper than {levels_max} levels")


def _depth(body: bytes) -> int:
    """The deepest nesting of brackets outside strings."""
    structure = body.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _NO_STRUCTURE)
    # Strings without brackets go in one step, those with some a piece at a time.
    brackets = _STRING.sub(b"", structure.replace(b'""', b""))
    return max(itertools.accumulate(map(_STEP.__getitem__, brackets)), default=0)


def _type_name(name: str | None) -> str:
    if name is None:
        raise UnreadableMessage("type", "is missing; set it to the job type")
    try:
        check_name("type", name)
    except ContractError:
        raise UnreadableMessage("type", f"is not a job type name of at most {NAME_LENGTH_MAX} characters") from None
    return name


def _digests_of(job: Job, key: str, keyring: Keyring | None) -> str | None:
    clear = None if keyring is None else job.clear_body()
    return None if keyring is None or clear is None else keyring.digests(clear, key=key)


def _read_digests(value: object) -> str:
    if not isinstance(value, str) or not _DIGESTS.fullmatch(value):
        raise UnreadableMessage(
            "header payload-hash", f"must be id:digest, at most {KEYS_MAX} separated by commas, as the wire table says"
        )
    return value


def _reply_queue(name: object) -> str | None:
    """Replies go to queues that are for replies: nobody may make us publish into a queue of jobs."""
    if not isinstance(name, str) or not name.startswith(REPLY_PREFIXES):
        raise UnreadableMessage("reply_to", f"must begin with one of {', '.join(REPLY_PREFIXES)}")
    return _text("reply_to", name, TEXT_LENGTH_MAX)


def _check_version(part: str, version: object) -> None:
    if version.__class__ is not int or not 1 <= version <= VERSION_MAX:
        raise UnreadableMessage(part, f"must be an integer of 1 or more, at most {VERSION_MAX}")


def _text(part: str, value: object, length_max: int) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise UnreadableMessage(part, "must be text")
    if not 0 < len(value) <= length_max:
        raise UnreadableMessage(part, f"must have between 1 and {length_max} characters")
    # Postgres text refuses NUL, UTF-8 refuses lone surrogates, the ledger separates values by control characters:
    # one such row would fail its whole batch.
    if not value.isprintable() and _UNSAFE.search(value):
        raise UnreadableMessage(part, "must not hold control characters or lone surrogates")
    return value


def _aware(due_at: datetime | None) -> datetime | None:
    if due_at is None:
        return None
    if not isinstance(due_at, datetime):
        raise UnreadableMessage("due_at", f"must be a datetime, no {_told(due_at)}")
    if due_at.tzinfo is None:
        raise UnreadableMessage("due_at", "has no time zone; use an aware datetime such as datetime.now(UTC)")
    try:
        return due_at.astimezone(UTC)
    except OverflowError:
        raise UnreadableMessage("due_at", "lies beyond the calendar in UTC; the last year is 9999") from None


def _after(delay: timedelta, due_at: datetime | None) -> datetime:
    if due_at is not None:
        raise UnreadableMessage("delay", "stands beside due_at: give one of them, not both")
    if not isinstance(delay, timedelta):
        raise UnreadableMessage("delay", f"must be a timedelta, like timedelta(minutes=5), no {_told(delay)}")
    try:
        return datetime.now(UTC) + delay
    except OverflowError:
        raise UnreadableMessage("delay", "reaches beyond the calendar; the last year is 9999") from None


def _told(given: object) -> str:
    """What was given instead, without what is in it."""
    return f"class: {given.__name__}" if isinstance(given, type) else type(given).__name__


def _read_time(value: object) -> datetime:
    try:
        time = datetime.fromisoformat(str(value))
        if time.tzinfo is not None:
            return time.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise UnreadableMessage("header due-at", "must be a time in RFC 3339 with its offset, like 2026-11-23T07:00:00Z")
