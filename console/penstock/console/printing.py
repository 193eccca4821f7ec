"""Tables for people, JSON for programs. Nothing from a job can move the cursor or colour the terminal."""

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from penstock.ledger.durations import ago, brief_span

# For pipes and files, where there is no terminal to ask.
WIDTH_ELSEWHERE = 120
_STYLES = {
    "completed": "green",
    "ok": "green",
    "executing": "cyan",
    "retryable": "yellow",
    "warning": "yellow",
    "dead": "red",
    "problem": "red",
    "cancelled": "dim",
    "skipped": "dim",
}
_PASSWORD = re.compile(r"(\w+://[^\s:/@]*):\S*@")


def console() -> Console:
    """A console on stdout; no markup: what is printed may come from a stranger's job."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDTH_ELSEWHERE
    return Console(width=width, markup=False, highlight=False, emoji=False)


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, keep: Sequence[str] = (), id_width: int | None = None
) -> None:
    """A table whose columns in `keep` are never wrapped; `id_width` fixes the first one, so that ids stay whole."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold underline")
    for index, column in enumerate(columns):
        width = id_width if index == 0 else None
        table.add_column(column, no_wrap=column in keep, overflow="fold", width=width)
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    _print(table)


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Names and values below each other; empty values are left out."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        if value:
            table.add_row(name, _cell(value))
    _print(table)


def print_line(text: str) -> None:
    """One line, however long."""
    console().print(plain(text), soft_wrap=True)


def print_json(document: Any) -> None:
    """One JSON document on one line."""
    sys.stdout.write(json.dumps(document, default=_jsonable, ensure_ascii=False, separators=(", ", ": ")) + "\n")


def print_json_lines(documents: Iterable[Mapping[str, Any]]) -> None:
    for document in documents:
        print_json(document)


def plain(text: object) -> str:
    """Text that a terminal shows as it is: control characters are written as escapes."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in str(text))


def one_line(text: str) -> str:
    """One line without control characters, and without the password of any URL in it."""
    return plain(_PASSWORD.sub(r"\1:***@", " ".join(text.split())))


def briefly(time: datetime | None, now: datetime) -> str:
    """The same for a column."""
    return ago(time, now, told=brief_span)


def moment(time: datetime | None, now: datetime) -> str:
    """The time to the second, in UTC, and how far away it is."""
    return "" if time is None else f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC ({ago(time, now)})"


def _print(table: Table) -> None:
    """Without the spaces that fill its lines up, which are in the way where the output is not seen but worked on."""
    out = console()
    with out.capture() as lines:
        out.print(table)
    for line in lines.get().splitlines():
        sys.stdout.write(line.rstrip() + "\n")


def _cell(value: str) -> Text:
    text = plain(value)
    return Text(text, style=_STYLES.get(text.split(maxsplit=1)[0] if text else "", ""))


def _jsonable(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    raise TypeError(f"a {type(value).__name__} has no place in the output")
