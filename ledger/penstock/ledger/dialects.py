"""Everything in which Postgres and SQLite differ, so that each statement is written once.

A batch of rows travels as one parameter per column on Postgres (text joined by a separator and split on
the server: arrays cost the client twice as much CPU) and as one JSON document on SQLite. JSON escapes
control characters and `Message` refuses them; a separator that gets here all the same is refused, since
it would shift the values of one job to the next.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import pydantic_core

ColumnType = Literal["uuid", "text", "int", "bigint", "float", "bool", "time", "json"]
Columns = Mapping[str, ColumnType]

_SEPARATOR = "\x1f"
_NULL = "\x1e"
_POSTGRES_ARRAYS = {
    "uuid": "uuid[]",
    "text": "text[]",
    "int": "integer[]",
    "bigint": "bigint[]",
    "float": "double precision[]",
    "bool": "boolean[]",
    "time": "timestamptz[]",
    "json": "text[]",
}


class BadValue(ValueError):
    """A value that no batch can carry. The text names its column, never the value itself."""

    def __init__(self, column: str) -> None:
        self.column = column
        super().__init__(
            f"column '{column}': a value holds control characters, lone surrogates, bytes that are not UTF-8 "
            "or a number that is not finite; send JSON, or text without them"
        )


@dataclass(frozen=True, slots=True)
class Postgres:
    """Fragments of SQL for Postgres 13 and later."""

    name: str = "postgresql"
    now: str = "now()"
    begin: str = "BEGIN"
    skip_locked: str = "FOR UPDATE SKIP LOCKED"
    for_update: str = "FOR UPDATE"
    materialized: str = "MATERIALIZED"

    def later(self, seconds: str) -> str:
        """The time that lies `seconds`, an SQL expression, after now."""
        return f"now() + ({seconds}) * interval '1 second'"

    def seconds_since(self, time: str) -> str:
        return f"CAST(EXTRACT(EPOCH FROM now() - {time}) AS double precision)"

    def same(self, left: str, right: str) -> str:
        """Equality under which NULL equals NULL."""
        return f"{left} IS NOT DISTINCT FROM {right}"

    def blob(self, text: str) -> str:
        """Text from a `json` column as bytes."""
        return f"convert_to({text}, 'UTF8')"

    def size(self, blob: str) -> str:
        """Bytes of a blob, without reading it."""
        return f"octet_length({blob})"

    def rows(self, alias: str, columns: Columns) -> str:
        """A FROM item that yields the rows bound by `bind`."""
        arrays = ", ".join(self._array(f":{alias}_{name}", kind) for name, kind in columns.items())
        return f"unnest({arrays}) AS {alias}({', '.join(columns)})"

    def _array(self, joined: str, kind: ColumnType) -> str:
        array = f"string_to_array({joined}, chr(31), chr(30))"
        if kind in ("text", "json"):  # one empty text alone would be taken for no value at all
            array = f"CASE WHEN {joined} = '' THEN ARRAY[''] ELSE {array} END"
        return f"CAST({array} AS {_POSTGRES_ARRAYS[kind]})"

    def bind(self, alias: str, columns: Columns, rows: Sequence[Sequence[Any]]) -> dict[str, str | None]:
        """Parameters for `rows`; a column that is NULL throughout costs next to nothing."""
        if not rows:
            return dict.fromkeys(f"{alias}_{name}" for name in columns)
        bound = {}
        for (name, kind), values in zip(columns.items(), zip(*rows, strict=True), strict=True):
            bound[f"{alias}_{name}"] = _join(name, kind, values)
        return bound


@dataclass(frozen=True, slots=True)
class SQLite:
    """Fragments of SQL for SQLite 3.37 and later. The write lock of the transaction stands in for row locks."""

    name: str = "sqlite"
    now: str = "strftime('%Y-%m-%d %H:%M:%f', 'now')"
    # A deferred transaction that reads first and writes later fails when another process wrote in between.
    begin: str = "BEGIN IMMEDIATE"
    skip_locked: str = ""
    for_update: str = ""
    materialized: str = ""

    def later(self, seconds: str) -> str:
        return f"strftime('%Y-%m-%d %H:%M:%f', 'now', ({seconds}) || ' seconds')"

    def seconds_since(self, time: str) -> str:
        return f"((julianday('now') - julianday({time})) * 86400.0)"

    def same(self, left: str, right: str) -> str:
        return f"{left} IS {right}"

    def blob(self, text: str) -> str:
        return f"CAST({text} AS BLOB)"

    def size(self, blob: str) -> str:
        return f"length({blob})"

    def rows(self, alias: str, columns: Columns) -> str:
        fields = ", ".join(f"json_extract(value, '$[{index}]') AS {name}" for index, name in enumerate(columns))
        return f"(SELECT {fields} FROM json_each(:{alias})) AS {alias}"

    def bind(self, alias: str, columns: Columns, rows: Sequence[Sequence[Any]]) -> dict[str, str]:
        for (name, kind), values in zip(columns.items(), zip(*rows, strict=True), strict=bool(rows)):
            _join(name, kind, values)  # what one database refuses, both refuse
        kinds = list(columns.values())
        plain = [[_plain(kind, value) for kind, value in zip(kinds, row, strict=True)] for row in rows]
        return {alias: pydantic_core.to_json(plain).decode()}


Dialect = Postgres | SQLite


def _join(name: str, kind: ColumnType, values: Sequence[Any]) -> str | None:
    """A column as one text; raises `BadValue` if it would not split into the same values again."""
    nulls = values.count(None)
    if nulls == len(values):
        return None
    try:
        if kind in ("text", "uuid"):
            texts = [_NULL if value is None else value for value in values] if nulls else values
        else:
            texts = [_NULL if value is None else _text(kind, value) for value in values]
        joined = _SEPARATOR.join(texts)
        if not joined.isascii():
            joined.encode()
    except (UnicodeError, OverflowError):
        raise BadValue(name) from None
    if joined.count(_SEPARATOR) != len(values) - 1 or joined.count(_NULL) != nulls or "\0" in joined:
        raise BadValue(name)
    return joined


def _text(kind: ColumnType, value: Any) -> str:
    if kind == "json":
        return str(value, "utf-8")
    if kind == "time":
        return str(value.isoformat())
    if kind == "float" and not math.isfinite(value):
        raise OverflowError
    return str(value)


def _plain(kind: ColumnType, value: Any) -> Any:
    if value is None:
        return None
    if kind == "json":
        return value.decode()
    if kind == "time":
        return sqlite_time(value)
    return value


def sqlite_time(time: datetime) -> str:
    """The form in which SQLite holds and compares times."""
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")
