"""Failures as they may be shown: no value of the payload survives in a message or a traceback."""

from __future__ import annotations

import hashlib
import json
import traceback
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from penstock.ledger.settlement import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MESSAGE_LENGTH_MAX = 1000
TRACEBACK_LENGTH_MAX = 8000
REDACTED = "[redacted]"
# Shorter values ("1", "PL") say little and occur in every text by chance.
VALUE_LENGTH_MIN = 4
# By this much of it a longer value is recognized; together with the limits above it bounds the work.
VALUE_LENGTH_MAX = 2000


def describe(
    error: BaseException, *, payload: bytes, kind: str = "failed", secrets: Iterable[str] = (), silent: bool = False
) -> Failure:
    """The class, message, traceback and fingerprint of an error, without any value of the payload.

    `secrets` are what its sealed fields hold, blanked out however short they are. `silent`: nobody knows what they
    hold, so the error's own text is left out.
    """
    values = sorted({*_values(payload), *secrets}, key=len, reverse=True)
    frames = traceback.extract_tb(error.__traceback__)
    where = next((f"{frame.filename}:{frame.name}" for frame in reversed(frames)), "")
    name = type(error).__name__
    # A value that begins before a limit is still whole a little behind it.
    text = "(hidden: the payload has sensitive fields)" if silent else _text_of(error)
    message = text[: MESSAGE_LENGTH_MAX + VALUE_LENGTH_MAX]
    trace = "".join(traceback.format_list(frames))[-2 * TRACEBACK_LENGTH_MAX :]
    return Failure(
        kind=kind,
        error_class=name,
        message=redact(message, values)[:MESSAGE_LENGTH_MAX],
        traceback=redact(trace, values)[-TRACEBACK_LENGTH_MAX:],
        fingerprint=hashlib.sha256(f"{name}|{where}".encode()).hexdigest()[:12],
    )


def redact(text: str, values: list[str]) -> str:
    """`text` with each of `values` blanked out; longest first, so that no part of one remains.

    Of a very long value the beginning is searched for, and everything behind it goes.
    """
    for value in values:
        if len(value) <= VALUE_LENGTH_MAX:
            text = text.replace(value, REDACTED)
        elif (start := text.find(value[:VALUE_LENGTH_MAX])) >= 0:
            text = text[:start] + REDACTED
    return text


def _text_of(error: BaseException) -> str:
    try:
        if isinstance(error, ValidationError):  # its text quotes values, and only parts of long ones
            return "; ".join(f"{item['loc']}: {item['type']}" for item in error.errors(include_input=False))
        return str(error)
    except BaseException:  # an exception of a handler may fail at anything, even at being printed
        return "(this exception cannot be printed)"


def _values(payload: bytes) -> Iterator[str]:
    try:
        yield from _leaves(json.loads(payload))
    except ValueError:
        return


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if not key.isidentifier():  # data, and not the name of a field
                yield from _leaves(key)
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, str):
        if len(value) >= VALUE_LENGTH_MIN:
            yield from (value, repr(value)[1:-1], json.dumps(value)[1:-1])
    elif isinstance(value, int | float) and not isinstance(value, bool):
        text = str(value)
        if len(text) >= VALUE_LENGTH_MIN:
            yield text
