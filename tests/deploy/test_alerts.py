"""Alerts and records: valid, fire when they should and only then, and lead to a runbook."""

import re
from typing import Any

import pytest
from tests.deploy.files import ALERT_TESTS, DEPLOY, OPERATIONS, read_yaml, rules
from tests.servers.prometheus import Programs

ALERTS = [rule for rule in rules("alerts.yml") if "alert" in rule]
NAMES = [alert["alert"] for alert in ALERTS]


def expectations(name: str) -> list[dict[str, Any]]:
    """What the unit tests expect of an alert, at each time they look."""
    tests = read_yaml(ALERT_TESTS)["tests"]
    return [look for test in tests for look in test.get("alert_rule_test", []) if look["alertname"] == name]


def test_promtool_takes_the_configuration_with_its_rules(programs: Programs) -> None:
    """Syntax, duplicates and the files that it refers to."""
    said = programs.check("check", "config", DEPLOY / "prometheus" / "prometheus.yml")
    assert "2 rule files found" in said


def test_the_alerts_do_what_their_unit_tests_say(programs: Programs) -> None:
    """`promtool test rules`, with the words that an operator gets to read."""
    programs.check("test", "rules", ALERT_TESTS)


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_is_seen_to_fire_and_to_keep_quiet(name: str) -> None:
    """An alert without a test is a guess."""
    looks = expectations(name)
    assert any(look.get("exp_alerts") for look in looks)
    assert any(not look.get("exp_alerts") for look in looks)


@pytest.mark.parametrize("alert", ALERTS, ids=NAMES)
def test_every_alert_says_how_bad_it_is_and_links_to_its_runbook(alert: dict[str, Any]) -> None:
    """The heading has the alert's name."""
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert set(alert["annotations"]) == {"summary", "description", "runbook"}
    assert alert["annotations"]["runbook"] == f"docs/operations.md#{alert['alert'].lower()}"


def test_there_is_one_runbook_for_each_alert() -> None:
    """In the same order, and none for an alert that is gone."""
    headings = re.findall(r"^### (Penstock\w+)$", OPERATIONS.read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == NAMES
