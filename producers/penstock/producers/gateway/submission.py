"""What a client submits, from bytes to what can be offered to the ledger. Nothing here waits or writes."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from penstock.producers.gateway.problems import Problem, invalid, malformed, too_large
from penstock.schemas import UnreadableMessage
from penstock.schemas.contract import NAME_LENGTH_MAX, VERSION_MAX
from penstock.schemas.message import (
    BODY_BYTES_MAX,
    BODY_DEPTH_MAX,
    KEY_LENGTH_MAX,
    TEXT_LENGTH_MAX,
    check_body,
    check_depth,
)

SUBMISSION_BYTES_MAX = BODY_BYTES_MAX + 16 * 1024
BATCH_JOBS_MAX = 1000
# A list of submissions, a submission, and in it the payload.
DEPTH_MAX = BODY_DEPTH_MAX + 3
DELAY_SECONDS_MAX = 10 * 366 * 86400

NAME = r"^[A-Za-z][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*$"
PRINTABLE = r"^[^\x00-\x1f\x7f]+$"
Text = Annotated[str, Field(min_length=1, max_length=TEXT_LENGTH_MAX, pattern=PRINTABLE)]

# What JSON allows between its tokens; strings are kept whole.
_SPACE = re.compile(rb'("(?:[^"\\]++|\\.)*+")|[ \t\r\n]+', re.DOTALL)

_BEFORE_JOBS = re.compile(rb'\s*\{\s*"jobs"\s*:\s*')


class Submission(BaseModel):
    """One job as a client submits it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    type: Annotated[str, Field(pattern=NAME, max_length=NAME_LENGTH_MAX, description="The job type: orders.ship.")]
    payload: Annotated[dict[str, Any], Field(description="What its contract says; kept as it is, without white space.")]
    version: Annotated[int | None, Field(ge=1, le=VERSION_MAX, description="Of the contract; default: the newest.")] = (
        None
    )
    key: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=KEY_LENGTH_MAX,
            pattern=PRINTABLE,
            description="The dedup key: the same key twice, for one type, is one job. Idempotency-Key says the same.",
        ),
    ] = None
    due_at: Annotated[AwareDatetime | None, Field(description="Not before; with a time zone.")] = None
    delay_seconds: Annotated[
        float | None, Field(ge=0, le=DELAY_SECONDS_MAX, allow_inf_nan=False, description="Not before so long from now.")
    ] = None
    correlation_id: Annotated[Text | None, Field(description="Yours, handed on.")] = None
    tenant: Annotated[
        Text | None, Field(description="Whose job it is; set by the credentials where they have one.")
    ] = None


@dataclass(frozen=True, slots=True)
class Order:
    """A submission whose payload is still as the client wrote it, but for the white space."""

    submission: Submission
    payload: bytes

    def due_at(self, now: datetime) -> datetime | None:
        """When it may run, the later of both; raises `Problem` for a time that no calendar has."""
        given = self.submission
        try:
            times = [] if given.due_at is None else [given.due_at.astimezone(UTC)]
            if given.delay_seconds is not None:
                times.append(now + timedelta(seconds=given.delay_seconds))
            return max(times, default=None)
        except OverflowError:
            raise invalid([("due_at", "must lie between the years 1 and 9999, in UTC too")]) from None


class _Slices(msgspec.Struct):
    payload: msgspec.Raw


class _Batch(msgspec.Struct, forbid_unknown_fields=True):
    jobs: msgspec.Raw


def check_json(body: bytes) -> None:
    """Raises `Problem` unless this is JSON that all readers would understand in the same way.

    One name twice in an object, numbers that are not finite, lone surrogates: some readers take them, each as it likes.
    """
    _check_depth(body)
    try:
        json.loads(body.decode("utf-8"), object_pairs_hook=_without_twins, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:
        detail = str(error) if isinstance(error, _Ambiguous) else "is not JSON in UTF-8, or has a number without end"
        raise malformed(f"the body {detail}", field="(body)") from None


def _check_depth(body: bytes) -> None:
    try:
        check_depth(body, levels_max=DEPTH_MAX)
    except UnreadableMessage as error:
        raise malformed(str(error), field="(body)") from None


def read_order(document: bytes) -> Order:
    """One submission; raises `Problem` that names the fields."""
    if len(document) > SUBMISSION_BYTES_MAX:
        raise too_large(SUBMISSION_BYTES_MAX)
    check_json(document)
    try:
        submission = Submission.model_validate_json(document)
    except ValidationError as error:
        raise _problem_of(error) from None
    # A slice of the document itself: a number must not come out as another one.
    payload = compact(bytes(msgspec.json.decode(document, type=_Slices).payload))
    try:
        check_body(payload)
    except UnreadableMessage as error:
        raise invalid([("payload", str(error).removeprefix("body "))]) from None
    return Order(submission, payload)


def split_batch(body: bytes) -> Sequence[bytes]:
    """The submissions of a batch, each as it was written and not yet checked; raises `Problem`.

    Python's own form of a body takes fifty times its bytes: so the whole is only sliced.
    """
    _check_depth(body)
    try:
        listed = bytes(msgspec.json.decode(body, type=_Batch).jobs)
        jobs = [bytes(job) for job in msgspec.json.decode(listed, type=list[msgspec.Raw])]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise invalid([("jobs", 'send an object with one field: {"jobs": [{"type": …, "payload": …}, …]}')]) from None
    if not 1 <= len(jobs) <= BATCH_JOBS_MAX:
        raise invalid([("jobs", f"has {len(jobs)} jobs; send between 1 and {BATCH_JOBS_MAX}")])
    before, _, after = body.rpartition(listed)
    if not _BEFORE_JOBS.fullmatch(before) or after.strip() != b"}":
        raise malformed("the body has a name that stands twice; send `jobs` once", field="(body)")
    return jobs


def compact(document: bytes) -> bytes:
    """JSON without white space between its tokens: it says nothing, and two clients may write it differently."""
    return _SPACE.sub(rb"\1", document)


class _Ambiguous(ValueError):
    """JSON that readers would take differently."""


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Ambiguous("has an object in which one name stands twice; send each name once")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _Ambiguous("has a number that is not finite; send null, or text")
    return number


def _problem_of(error: ValidationError) -> Problem:
    found = error.errors(include_input=False, include_context=False, include_url=False)
    if any(item["type"] == "json_invalid" for item in found):  # a lone surrogate is all that is left
        return malformed("the body has text that is not Unicode: an escape like \\ud800 without its other half")
    return invalid([(".".join(map(str, item["loc"])) or "(body)", item["msg"]) for item in found])
