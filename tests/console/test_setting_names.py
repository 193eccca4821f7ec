"""A setting with a misspelt name is refused instead of being passed over."""

import re
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings
from tests.console.command import REPOSITORY, Command

from penstock.console.exits import Failure
from penstock.console.setting_names import NAMES, check_names
from penstock.console.settings import ConsoleSettings
from penstock.notifications.settings import NotificationSettings
from penstock.pipelines.settings import PipelineSettings
from penstock.producers.gateway.settings import GatewaySettings
from penstock.producers.outbox.settings import RelaySettings
from penstock.workers.settings import WorkerSettings

ROOMS: list[type[BaseSettings]] = [
    *(ConsoleSettings, WorkerSettings, GatewaySettings),
    *(RelaySettings, NotificationSettings, PipelineSettings),
]


def test_all_settings_of_all_rooms_are_known_and_no_others() -> None:
    """And all of them are in the reference."""
    assert sorted(NAMES) == sorted({field.upper() for room in ROOMS for field in room.model_fields})
    table = (REPOSITORY / "docs" / "commands.md").read_text().partition("## Exit codes")[0]
    cells = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| `")]
    assert sorted(NAMES) == sorted(re.findall("PENSTOCK_([A-Z_]+)", " ".join(cells)))


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("PENSTOCK_DATABSE_URL", "PENSTOCK_DATABASE_URL"),
        ("PENSTOCK_DATABASE_URI", "PENSTOCK_DATABASE_URL"),
        ("penstock_broker_ulr", "PENSTOCK_BROKER_URL"),
        ("PENSTOCK_REDIS_URI", "PENSTOCK_REDIS_URL"),
        ("PENSTOCK_GRACE_SECOND", "PENSTOCK_GRACE_SECONDS"),
    ],
)
def test_a_misspelt_name_is_refused_with_the_one_that_was_meant(given: str, meant: str) -> None:
    with pytest.raises(Failure, match=f"^{given} is no setting; {meant} is one"):
        check_names(["HOME", given])


def test_the_settings_themselves_and_names_of_others_pass() -> None:
    """Kubernetes makes some of the services that it knows; tests and scripts have theirs."""
    check_names(
        [
            *(f"PENSTOCK_{name}" for name in NAMES),
            *("penstock_database_url", "DATABSE_URL", "PENSTOCK_TEST_DATABASE_URL", "PENSTOCK_OLD_DATABASE_URL"),
            *("PENSTOCK_GATEWAY_PORT", "PENSTOCK_GATEWAY_SERVICE_HOST", "PENSTOCK_METRICS_SERVICE_HOST"),
        ]
    )


def test_every_command_looks_at_the_environment(penstock: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_DATABSE_URL", "postgresql://ledger.example/ledger")
    answer = penstock("migrate")
    assert (answer.code, answer.error) == (
        2,
        "PENSTOCK_DATABSE_URL is no setting; PENSTOCK_DATABASE_URL is one. Rename it, or take it away",
    )


def test_every_command_looks_at_the_file_too(
    penstock: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where it is, in the current directory."""
    monkeypatch.chdir(tmp_path)
    Path(".env").write_text("PENSTOCK_BROKER_URI=amqp://broker.example/\n")
    answer = penstock("jobs", "list")
    assert answer.code == 2
    assert answer.error.startswith("PENSTOCK_BROKER_URI is no setting; PENSTOCK_BROKER_URL is one")
