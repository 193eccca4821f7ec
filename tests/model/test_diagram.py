"""`docs/state-machine.md` says what the transition functions do: no arrow too many, none too few."""

import re
from pathlib import Path

from tests.model.arrows import NEW, Arrow, all_arrows, all_events

from penstock.ledger.state import Reason, State

PAGE = (Path(__file__).parents[2] / "docs" / "state-machine.md").read_text(encoding="utf-8")
ARROW = re.compile(r"^ +(\[\*\]|\w+) --> (\w+) : (.+)$", re.MULTILINE)
COLUMNS = ("new", "scheduled", "available", "retryable", "executing", "dead")


def arrows_of_the_diagram() -> set[Arrow]:
    return {(source, target, event) for source, target, events in ARROW.findall(PAGE) for event in events.split(", ")}


def rows_of_the_table() -> dict[str, dict[str, str]]:
    """The cells of the table of events, by event and by column."""
    lines = [line for line in PAGE.splitlines() if line.startswith("|")]
    header = next(index for index, line in enumerate(lines) if line.startswith("| event "))
    names = cells(lines[header])
    rows = [dict(zip(names, cells(line), strict=True)) for line in lines[header + 2 :]]
    return {row["event"].strip("`"): row for row in rows}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_diagram_has_the_arrows_that_the_functions_can_make() -> None:
    assert arrows_of_the_diagram() == all_arrows()


def test_the_table_has_the_same_arrows() -> None:
    arrows = {
        (NEW if column == "new" else column, target, event)
        for event, row in rows_of_the_table().items()
        for column in COLUMNS
        if row[column] != "·"
        for target in row[column].split(", ")
    }
    assert arrows == all_arrows()


def test_the_table_has_every_event_and_no_other() -> None:
    assert set(rows_of_the_table()) == all_events()


def test_the_page_names_every_state_and_reason() -> None:
    assert [it.value for it in (*State, *Reason) if f"`{it.value}`" not in PAGE] == []
