"""`penstock migrate`."""

from pathlib import Path

import pytest
from sqlalchemy import text
from tests.console.command import Command

from penstock.ledger.database import Ledger


@pytest.mark.parametrize("kind", ["postgres", "sqlite"])
def test_an_empty_database_gets_the_tables_and_the_command_says_so(
    kind: str, penstock: Command, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the ledger, where it began and where it arrived."""
    if kind == "postgres":
        monkeypatch.setenv("PENSTOCK_DATABASE_URL", request.getfixturevalue("database_url"))
    answer = penstock("migrate")
    assert answer.code == 0
    assert "migrated from nothing to 0" in answer.out
    assert penstock("jobs", "list").out == "no jobs\n"


def test_a_second_run_has_nothing_to_do(penstock: Command) -> None:
    """It is safe at any time."""
    first, second = penstock("migrate", "--json").document, penstock("migrate", "--json").document
    assert first["before"] is None
    assert first["applied"][0] == "0001"
    assert second == {**first, "before": first["after"], "applied": []}
    assert "nothing to do" in penstock("migrate").out


def test_a_newer_schema_is_left_alone(penstock: Command, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of a deploy the old release may still be asked to migrate."""
    monkeypatch.setenv("PENSTOCK_DATABASE_URL", sqlite_url)
    with Ledger(sqlite_url).session() as session:
        session.connection.execute(text("UPDATE penstock_revision SET version_num = '9999'"))
    answer = penstock("migrate", "--json")
    assert answer.code == 0
    assert answer.document["after"] == "9999"
    assert answer.document["applied"] == []


def test_a_schema_that_is_too_new_is_refused_with_what_to_install(
    penstock: Command, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By `migrate`, and by whoever runs jobs."""
    monkeypatch.setenv("PENSTOCK_DATABASE_URL", sqlite_url)
    with Ledger(sqlite_url).session() as session:
        session.connection.execute(text("UPDATE penstock_revision SET version_num = '9999-9999'"))
    for words in (["migrate"], ["worker", "--jobs", "tests.console.handlers", "--metrics-port", "0"]):
        answer = penstock(*words)
        assert answer.code == 1
        assert "too new for this release: install one that knows revision 9999" in answer.err


def test_the_address_may_stand_in_a_file_beside_it(penstock: Command) -> None:
    """`.env` in the current directory is read."""
    Path(".env").write_text("PENSTOCK_DATABASE_URL=sqlite:///other.db\n")
    assert penstock("migrate").code == 0
    assert Path("other.db").exists()
    assert not Path("penstock.db").exists()
