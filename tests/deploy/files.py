"""What stands in `deploy/` and beside it, read for the tests."""

import re
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy"
OPERATIONS = REPOSITORY / "docs" / "operations.md"
ALERT_TESTS = Path(__file__).parent / "alerts.test.yml"
METRIC = re.compile(r"\b((?:penstock|rabbitmq)_\w+)")


def read_yaml(path: Path) -> Any:
    """A YAML file as plain data."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def rules(name: str) -> list[dict[str, Any]]:
    """The rules of one of Prometheus's files."""
    groups = read_yaml(DEPLOY / "prometheus" / name)["groups"]
    return [rule for group in groups for rule in group["rules"]]


def metrics_in(expression: str) -> set[str]:
    """The names of metrics in a PromQL expression; those of records have a colon and are none."""
    without_records = re.sub(r"\bpenstock:[\w:]+", "", expression)
    return set(METRIC.findall(without_records))
