"""`docs/commands.md` says what there is."""

import re
from collections.abc import Iterator

import pytest
from tests.console.command import REPOSITORY
from typer.main import get_command

from penstock.console.main import app

REFERENCE = (REPOSITORY / "docs" / "commands.md").read_text()
EVERYWHERE = {"--help", "--json", "--actor", "--payload", "--limit"}


def commands() -> Iterator[tuple[str, list[str]]]:
    """Each command's words, with its long options."""
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        below = getattr(command, "commands", None)
        for word, it in below.items() if below else [("", command)]:
            options = [option for param in it.params for option in param.opts if option.startswith("--")]
            yield f"{name} {word}".strip(), options


@pytest.mark.parametrize(("name", "options"), list(commands()))
def test_every_command_and_option_is_in_the_reference(name: str, options: list[str]) -> None:
    """Under its own heading, or where all of them are explained."""
    assert f"penstock {name}" in REFERENCE
    assert [option for option in options if f"`{option}" not in REFERENCE and f" {option}" not in REFERENCE] == []


def test_the_reference_names_no_option_that_is_not_there() -> None:
    """What is written can be typed."""
    known = EVERYWHERE.union(*(options for _, options in commands()))
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", REFERENCE)) <= known


def test_every_example_parses() -> None:
    """Each line of a block is a command line that the command understands."""
    group = get_command(app)
    known = {name for name, _ in commands()}
    lines = re.findall(r"^penstock (.+)$", REFERENCE, re.MULTILINE)
    assert len(lines) > 15
    for line in lines:
        words = line.split()
        assert words[0] in known or " ".join(words[:2]) in known, line
    assert group.name == "penstock"
