"""From the text of a field to a value of the declared type."""

import math
import re
from collections.abc import Callable
from datetime import date
from typing import Any

from penstock.pipelines.contracts import ColumnType, CsvShape
from penstock.pipelines.records import Record

INTEGER_MAX = 2**63 - 1

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_FLOAT = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_BOOLEANS = {
    word: value for value, words in ((True, "true t yes y 1"), (False, "false f no n 0")) for word in words.split()
}


class BadRow(ValueError):
    """Why a row is not loaded. Names columns and rules, never values."""


def read_row(job: CsvShape, record: Record, *, places: dict[str, int], width: int) -> dict[str, Any]:
    """The values of a record by column; raises `BadRow`."""
    if record.problem is not None:
        raise BadRow(record.problem)
    if len(record.fields) != width:
        raise BadRow(f"has {len(record.fields)} fields instead of {width}")
    row: dict[str, Any] = {}
    for column, kind in job.columns.items():
        text = record.fields[places[column]]
        if text in job.nulls:
            if column in job.required:
                raise BadRow(f"{column}: has no value, and must have one")
            row[column] = None
        else:
            row[column] = _read(column, kind, text)
    return row


def _read(column: str, kind: ColumnType, text: str) -> Any:
    try:
        return READERS[kind](text)
    except ValueError as error:
        raise BadRow(f"{column}: {error}") from None


def read_text(text: str) -> str:
    if "\x00" in text:
        raise ValueError("holds NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("is not UTF-8") from None
    return text


def read_integer(text: str) -> int:
    text = text.strip()
    if not _INTEGER.fullmatch(text) or not -INTEGER_MAX - 1 <= int(text) <= INTEGER_MAX:
        raise ValueError("is not an integer of 64 bits")
    return int(text)


def read_float(text: str) -> float:
    text = text.strip()
    if not _FLOAT.fullmatch(text) or not math.isfinite(float(text)):
        raise ValueError("is not a finite number")
    return float(text)


def read_date(text: str) -> date:
    text = text.strip()
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:  # 2026-02-30
        pass
    raise ValueError("is not a date like 2026-11-23")


def read_boolean(text: str) -> bool:
    value = _BOOLEANS.get(text.strip().casefold())
    if value is None:
        raise ValueError("is neither true nor false")
    return value


READERS: dict[ColumnType, Callable[[str], Any]] = {
    "text": read_text,
    "integer": read_integer,
    "float": read_float,
    "date": read_date,
    "boolean": read_boolean,
}
