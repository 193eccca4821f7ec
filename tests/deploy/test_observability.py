"""What Prometheus and Grafana show of real processes of each kind, and of a real RabbitMQ."""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from tests.deploy.files import DEPLOY, OPERATIONS, metrics_in, rules
from tests.deploy.mishaps import cause_all
from tests.deploy.stack import Stack, running_stack
from tests.servers.databases import Databases
from tests.servers.prometheus import Programs
from tests.servers.rabbitmq import PrivateRabbitMQ
from tests.waiting import until
from tests.workers import jobs
from tests.workers.site import Site

from penstock.ledger.migrations import migrate
from penstock.producers.ledger_producer import LedgerProducer

DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "penstock.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
# What Grafana puts in; the window is longer than a few of the stack's scrapes.
FILLED_IN = {"$__rate_interval": "20s", "$__range": "10m", "$queue": ".*"}


@pytest.fixture(scope="module")
def stack(
    rabbitmq: PrivateRabbitMQ, programs: Programs, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """Everything, with good and bad days behind it."""
    folder = tmp_path_factory.mktemp("stack")
    database_url = databases.create_migrated(migrate)
    site = Site(database_url, rabbitmq.url, folder)
    with running_stack(site=site, rabbitmq=rabbitmq, programs=programs, folder=folder) as stack:
        cause_all(stack)
        yield stack
    site.close()
    databases.drop(database_url)


def filled_in(query: str) -> str:
    """A panel's query as Grafana sends it."""
    for variable, value in FILLED_IN.items():
        query = query.replace(variable, value)
    return query


def has_figures(stack: Stack, query: str) -> bool:
    """Whether there is at least one series that is a number."""
    return any(not math.isnan(float(series["value"][1])) for series in stack.prometheus.query(query))


def exported(stack: Stack) -> set[str]:
    """Every metric that Prometheus has seen, without the parts of histograms."""
    names = stack.prometheus.values_of("__name__", '{job=~".+"}')
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in names if ":" not in name}


@pytest.mark.parametrize("panel", PANELS, ids=[panel["title"] for panel in PANELS])
def test_every_panel_has_data_for_each_of_its_legends(stack: Stack, panel: dict[str, Any]) -> None:
    """A query that is spelled wrong answers with nothing, and nothing looks like all is well."""
    ledger = LedgerProducer(stack.site.database_url)
    for target in panel["targets"]:
        query = filled_in(target["expr"])
        assert "$" not in query

        def answered(query: str = query) -> bool:
            stack.site.publish(jobs.Note(name="for the rates"))
            ledger.publish(jobs.Note(name="by the dispatcher"))
            stack.submit("by HTTP")
            stack.enqueue(jobs.Note(name="by the outbox"))
            return has_figures(stack, query)

        until(answered, timeout_seconds=30, what=query)


def test_every_variable_of_the_dashboard_offers_values(stack: Stack) -> None:
    """The queues of the pool."""
    [query] = [it["query"]["query"] for it in DASHBOARD["templating"]["list"] if it["type"] == "query"]
    match = re.fullmatch(r"label_values\((\w+), (\w+)\)", query)
    assert match is not None
    until(lambda: stack.prometheus.values_of(match[2], match[1]) == ["test"], timeout_seconds=20, what="the queues")


def test_what_keda_asks_for_is_a_figure(stack: Stack) -> None:
    """Of this pool instead of the deployed ones."""
    text = (DEPLOY / "kubernetes" / "keda" / "scaled-objects.yaml").read_text(encoding="utf-8")
    queries = [it["spec"]["triggers"][0]["metadata"]["query"] for it in yaml.safe_load_all(text)]
    for query in {re.sub(r'(pool|queue)="\w+"', r'\1="test"', query) for query in queries}:
        until(lambda query=query: has_figures(stack, query), timeout_seconds=20, what=query)  # type: ignore[misc]


def test_every_metric_that_is_asked_for_exists(stack: Stack) -> None:
    """In alerts, in records and in the dashboard."""
    queries = [rule["expr"] for name in ("alerts.yml", "records.yml") for rule in rules(name)]
    queries += [target["expr"] for panel in PANELS for target in panel["targets"]]
    asked = {re.sub(r"_(bucket|sum|count)$", "", name) for query in queries for name in metrics_in(query)}
    assert len(asked) > 50
    until(lambda: not asked - exported(stack), timeout_seconds=20, what=f"{asked - exported(stack)}")


def test_every_record_and_alert_evaluates_and_reads_well(stack: Stack) -> None:
    """No rule fails, every record has been recorded, and what fires leaves no hole in its text."""
    records = [rule["record"] for rule in rules("records.yml")]
    until(lambda: all(stack.prometheus.query(it) for it in records), timeout_seconds=30, what="all records")
    rules_ = stack.prometheus.rules()
    assert {rule["name"]: rule.get("lastError") for rule in rules_ if rule["health"] != "ok"} == {}
    firing = {rule["name"]: rule["alerts"] for rule in rules_ if rule.get("alerts")}
    assert "PenstockDeadLettersGrowing" in firing
    texts = [text for alerts in firing.values() for alert in alerts for text in alert["annotations"].values()]
    assert [text for text in texts if re.search(r"<no value>|<error|%!|  ", text)] == []


def test_every_metric_is_documented_and_every_documented_one_is_there(stack: Stack) -> None:
    """In the tables of docs/operations.md."""
    documented = set(re.findall(r"^\| `(penstock_\w+)` \|", OPERATIONS.read_text(encoding="utf-8"), re.MULTILINE))

    def ours() -> set[str]:
        return {name for name in exported(stack) if name.startswith("penstock_")}

    until(lambda: ours() == documented, timeout_seconds=20, what=f"{ours() ^ documented} to be in both")


@pytest.mark.parametrize("name", ["pool", "dispatch", "serve", "relay"])
def test_metrics_are_named_as_prometheus_advises(stack: Stack, programs: Programs, name: str) -> None:
    """By promtool's own lint."""
    page = stack.metrics(name)
    assert "penstock_" in page
    programs.check("check", "metrics", stdin=page)


def test_every_scrape_succeeds(stack: Stack) -> None:
    """Of the pool, the dispatcher, the gateway, the relay and both pages of RabbitMQ."""

    def down() -> list[tuple[str, str]]:
        return [(it["labels"]["job"], it["lastError"]) for it in stack.prometheus.targets() if it["health"] != "up"]

    # one that has taken longer than the second that it has here is made good by the next
    until(lambda: not down(), timeout_seconds=20, what=f"{down()} to be up")
    assert len(stack.prometheus.targets()) == 6


def test_the_queues_of_a_worker_get_the_policy(stack: Stack, rabbitmq: PrivateRabbitMQ) -> None:
    """With the limits that keep one queue from taking the disk of all."""
    listed = rabbitmq.ctl("list_queues", "name", "policy", "--formatter", "json")
    policies = {queue["name"]: queue["policy"] for queue in json.loads(listed)}
    assert policies["test"] == "penstock-limits"


def test_rabbitmq_takes_every_setting(stack: Stack, rabbitmq: PrivateRabbitMQ) -> None:
    """It would not start with one that it does not know; these show that they are in force."""
    values = "[application:get_env(rabbit, Key) || Key <- [max_message_size, channel_max, heartbeat]]."
    assert rabbitmq.ctl("eval", values).split() == ["[{ok,16777216},{ok,256},{ok,30}]"]
    assert [line.split()[0] for line in rabbitmq.ctl("list_users").splitlines()[1:]] == ["penstock"]
