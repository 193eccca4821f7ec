"""Failures as they may be shown: no value of the payload survives in a message or a traceback."""

from __future__ import annotations

import hashlib
import json
import traceback
from typing import TYPE_CHECKING, Any

from penstock.ledger.settlement import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

MESSAGE_LENGTH_MAX = 1000
TRACEBACK_LENGTH_MAX = 8000
REDACTED = "[redacted]"
# Shorter values ("1", "PL") say little and occur in every text by chance.
VALUE_LENGTH_MIN = 4


def describe(error: BaseException, *, payload: bytes, kind: str = "failed") -> Failure:
    """The class, message, traceback and fingerprint of an error, without any value of the payload."""
    values = sorted(set(_values(payload)), key=len, reverse=True)
    frames = traceback.extract_tb(error.__traceback__)
    where = next((f"{frame.filename}:{frame.name}" for frame in reversed(frames)), "")
    name = type(error).__name__
    return Failure(
        kind=kind,
        error_class=name,
        message=redact(_text_of(error), values)[:MESSAGE_LENGTH_MAX],
        traceback=redact("".join(traceback.format_list(frames)), values)[-TRACEBACK_LENGTH_MAX:],
        fingerprint=hashlib.sha256(f"{name}|{where}".encode()).hexdigest()[:12],
    )


def redact(text: str, values: list[str]) -> str:
    """`text` with each of `values` blanked out; longest first, so that no part of one remains."""
    for value in values:
        text = text.replace(value, REDACTED)
    return text


def _text_of(error: BaseException) -> str:
    try:
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
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        text = str(value)
        if len(text) >= VALUE_LENGTH_MIN:
            yield text
            if isinstance(value, str):
                yield repr(value)[1:-1]
