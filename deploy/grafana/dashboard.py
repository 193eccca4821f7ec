"""The dashboard as code: `python deploy/grafana/dashboard.py` writes dashboards/penstock.json.

A test holds the file against this script and runs every query on a real Prometheus.
"""

from __future__ import annotations

import itertools
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "dashboards" / "penstock.json"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
QUEUE = 'queue=~"$queue"'
RATE = "$__rate_interval"
COLUMNS = 24
RED, AMBER, GREEN = "red", "orange", "green"


@dataclass(frozen=True, kw_only=True)
class Panel:
    """What is asked and how it is drawn. `queries` maps legends to PromQL; units are Grafana's."""

    title: str
    about: str
    queries: dict[str, str]
    kind: str = "timeseries"
    unit: str = "short"
    width: int = 8
    height: int = 8
    steps: tuple[tuple[float, str], ...] = ()
    """from which value on a stat has which colour"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Panels that answer one question."""

    title: str
    panels: tuple[Panel, ...]


def per_second(metric: str, *labels: str) -> str:
    """The rate of a counter for the chosen queues, by these labels."""
    by = f" by ({', '.join(labels)})" if labels else ""
    return f"sum{by} (rate({metric}{{{QUEUE}}}[{RATE}]))"


def in_range(metric: str) -> str:
    """How often it happened in the time that is shown; 0 when never."""
    return f"sum(increase({metric}{{{QUEUE}}}[$__range])) or vector(0)"


def quantiles(metric: str, *, selector: str = "") -> dict[str, str]:
    """p50, p95 and p99 of a histogram."""
    buckets = f"sum by (le) (rate({metric}_bucket{{{selector}}}[{RATE}]))"
    return {f"p{round(100 * q)}": f"histogram_quantile({q}, {buckets})" for q in (0.5, 0.95, 0.99)}


NOW = Row(
    title="Now",
    panels=(
        Panel(
            title="Alerts",
            about="Alerts of Penstock that fire. What to do stands in docs/operations.md, under the alert's name.",
            queries={"": 'count(ALERTS{alertname=~"Penstock.*", alertstate="firing"}) or vector(0)'},
            kind="stat",
            steps=((0, GREEN), (1, RED)),
            width=3,
            height=4,
        ),
        Panel(
            title="Healthy worker processes",
            about="Those that have proved to consume, out of those that are alive.",
            queries={
                "healthy": 'sum(penstock_processes_healthy{kind="worker"})',
                "alive": 'sum(penstock_processes{kind="worker"})',
            },
            kind="stat",
            steps=((0, RED), (1, GREEN)),
            width=4,
            height=4,
        ),
        Panel(
            title="Threads in use",
            about="Jobs in flight as a share of all worker threads. Near 100 % the pools are the bottleneck.",
            queries={"": "sum(penstock_jobs_in_flight) / sum(penstock_threads)"},
            kind="stat",
            unit="percentunit",
            steps=((0, GREEN), (0.9, AMBER)),
            width=3,
            height=4,
        ),
        Panel(
            title="Oldest due job",
            about="Due in the ledger and not dispatched yet.",
            queries={"": f"max(penstock:oldest_due_seconds{{{QUEUE}}})"},
            kind="stat",
            unit="s",
            steps=((0, GREEN), (60, AMBER), (300, RED)),
            width=4,
            height=4,
        ),
        Panel(
            title="Waiting",
            about="Due jobs in the ledger, and messages in RabbitMQ.",
            queries={
                "ledger": f"sum(penstock:due_jobs{{{QUEUE}}})",
                "RabbitMQ": f"sum(rabbitmq_detailed_queue_messages_ready{{{QUEUE}}})",
            },
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            title="Dead letters",
            about="In the time that is shown.",
            queries={"": in_range("penstock_jobs_dead_total")},
            kind="stat",
            steps=((0, GREEN), (1, RED)),
            width=3,
            height=4,
        ),
        Panel(
            title="Quarantined messages",
            about="In the time that is shown.",
            queries={"": in_range("penstock_messages_quarantined_total")},
            kind="stat",
            steps=((0, GREEN), (1, RED)),
            width=3,
            height=4,
        ),
    ),
)

FLOW = Row(
    title="Do jobs flow?",
    panels=(
        Panel(
            title="Throughput",
            about="Claimed jobs and what became of them; the rest is put off or handed back.",
            queries={
                "claimed": per_second("penstock_jobs_claimed_total"),
                "completed": per_second("penstock_jobs_completed_total"),
                "retried": per_second("penstock_jobs_retried_total"),
                "dead": per_second("penstock_jobs_dead_total"),
            },
            unit="ops",
            width=12,
        ),
        Panel(
            title="In flight and threads",
            about="Jobs that run this moment, and how many can.",
            queries={
                "{{pool}} in flight": "sum by (pool) (penstock_jobs_in_flight)",
                "{{pool}} threads": "sum by (pool) (penstock_threads)",
            },
            width=12,
        ),
        Panel(
            title="Wait",
            about="From due, or published, to started.",
            queries=quantiles("penstock_job_wait_seconds", selector=QUEUE),
            unit="s",
        ),
        Panel(
            title="Run",
            about="From started to returned.",
            queries=quantiles("penstock_job_run_seconds", selector=QUEUE),
            unit="s",
        ),
        Panel(
            title="Slowest types",
            about="The 95th percentile of the run time, by type.",
            queries={
                "{{type}}": "topk(10, histogram_quantile(0.95, "
                f"sum by (le, type) (rate(penstock_job_run_seconds_bucket{{{QUEUE}}}[{RATE}]))))"
            },
            unit="s",
        ),
        Panel(
            title="Age of the oldest due job",
            about="In the ledger and not dispatched. It grows when more becomes due than the pools run.",
            queries={"{{queue}}": f"penstock:oldest_due_seconds{{{QUEUE}}}"},
            unit="s",
        ),
        Panel(
            title="Due jobs",
            about="In the ledger and not dispatched: the backlog. RabbitMQ is given a thousand of a queue at a time.",
            queries={"{{queue}}": f"penstock:due_jobs{{{QUEUE}}}"},
        ),
        Panel(
            title="Published by the dispatcher",
            about="Retries, delayed and scheduled jobs, outbox and replays; and publishes without a confirm.",
            queries={
                "{{queue}}": per_second("penstock_jobs_published_total", "queue"),
                "{{queue}} failed": per_second("penstock_publish_failures_total", "queue"),
            },
            unit="ops",
        ),
    ),
)

FAILURES = Row(
    title="What goes wrong?",
    panels=(
        Panel(
            title="Dead letters by reason",
            about="In each step of the graph.",
            queries={
                "{{type}} · {{reason}}": "sum by (type, reason) "
                f"(increase(penstock_jobs_dead_total{{{QUEUE}}}[$__rate_interval]))"
            },
        ),
        Panel(
            title="Retries by type",
            about="Attempts that failed and will be made again.",
            queries={"{{type}}": per_second("penstock_jobs_retried_total", "type")},
            unit="ops",
        ),
        Panel(
            title="Quarantine",
            about="Messages that could not be read, by the queue they came through.",
            queries={"{{queue}}": f"sum by (queue) (increase(penstock_messages_quarantined_total{{{QUEUE}}}[{RATE}]))"},
        ),
        Panel(
            title="Duplicates and absorbed deliveries",
            about="Deliveries of jobs that are known already, and those that wait in the ledger (due later, paused).",
            queries={
                "{{queue}} duplicates": per_second("penstock_jobs_duplicates_total", "queue"),
                "{{queue}} absorbed": per_second("penstock_jobs_absorbed_total", "queue"),
            },
            unit="ops",
        ),
        Panel(
            title="Put off, handed back, taken away",
            about="Runs that used up no attempt, and outcomes that came too late. Fenced and rescued should be rare.",
            queries={
                "snoozed": per_second("penstock_jobs_snoozed_total"),
                "handed back": per_second("penstock_jobs_released_total"),
                "cancelled": per_second("penstock_jobs_cancelled_total"),
                "rescued": per_second("penstock_jobs_rescued_total"),
                "fenced": per_second("penstock_jobs_fenced_total"),
            },
            unit="ops",
        ),
        Panel(
            title="Processes",
            about="Alive, and healthy: a gap is a process that does not consume.",
            queries={
                "{{pool}} {{kind}} alive": 'sum by (pool, kind) (penstock_processes{kind=~"worker|lane"})',
                "{{pool}} {{kind}} healthy": 'sum by (pool, kind) (penstock_processes_healthy{kind=~"worker|lane"})',
            },
        ),
    ),
)

UNDERNEATH = Row(
    title="Underneath",
    panels=(
        Panel(
            title="RabbitMQ: ready and unacknowledged",
            about="Messages by queue. Unacknowledged ones are on their way to a claim, never held while a job runs.",
            queries={
                "{{queue}} ready": f"sum by (queue) (rabbitmq_detailed_queue_messages_ready{{{QUEUE}}})",
                "{{queue}} unacknowledged": f"sum by (queue) (rabbitmq_detailed_queue_messages_unacked{{{QUEUE}}})",
            },
        ),
        Panel(
            title="RabbitMQ: consumers",
            about="Consumers by queue: one for each worker process that serves it.",
            queries={"{{queue}}": f"sum by (queue) (rabbitmq_detailed_queue_consumers{{{QUEUE}}})"},
        ),
        Panel(
            title="RabbitMQ: memory",
            about="Beyond the limit RabbitMQ blocks publishers.",
            queries={
                "{{instance}} used": "rabbitmq_process_resident_memory_bytes",
                "{{instance}} limit": "rabbitmq_resident_memory_limit_bytes",
            },
            unit="bytes",
        ),
        Panel(
            title="Jobs per claim",
            about="One round trip and one commit each. Larger batches under load are what makes it fast.",
            queries=quantiles("penstock_claim_batch_jobs"),
        ),
        Panel(
            title="Jobs per settle",
            about="Outcomes that were committed together.",
            queries=quantiles("penstock_settle_batch_jobs"),
        ),
        Panel(
            title="Scrapes that fail",
            about="0 is well.",
            queries={"{{job}} {{service}}": "sum by (job, service) (1 - up)"},
        ),
    ),
)


def dashboard() -> dict[str, Any]:
    """The whole dashboard in Grafana's JSON model."""
    return {
        "uid": "penstock",
        "title": "Penstock",
        "description": "Written by deploy/grafana/dashboard.py; change it there.",
        "tags": ["penstock"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_datasource(), _queue()]},
        "panels": list(_laid_out((NOW, FLOW, FAILURES, UNDERNEATH))),
    }


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0}


def _queue() -> dict[str, Any]:
    return {
        "name": "queue",
        "label": "Queue",
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": "label_values(penstock_jobs_claimed_total, queue)", "refId": "queues"},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "sort": 1,
    }


def _laid_out(rows: tuple[Row, ...]) -> Any:
    numbers = itertools.count(1)
    top = 0
    for row in rows:
        yield {
            "id": next(numbers),
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1},
            "panels": [],
        }
        top += 1
        left = 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                top, left = top + panel.height, 0
            place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            yield _drawn(panel) | {"id": next(numbers), "gridPos": place}
            left += panel.width
        top += row.panels[-1].height


def _drawn(panel: Panel) -> dict[str, Any]:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": SOURCE,
                "expr": query,
                "legendFormat": legend or "__auto",
                "range": panel.kind != "stat",
                "instant": panel.kind == "stat",
            }
            for number, (legend, query) in enumerate(panel.queries.items())
        ],
        "fieldConfig": {"defaults": _look(panel), "overrides": []},
        "options": _options(panel),
    }


def _look(panel: Panel) -> dict[str, Any]:
    steps = [{"value": None if value == 0 else value, "color": color} for value, color in panel.steps]
    look: dict[str, Any] = {
        "unit": panel.unit,
        "thresholds": {"mode": "absolute", "steps": steps or [{"value": None, "color": "text"}]},
    }
    if panel.kind == "stat":
        return look | {"color": {"mode": "thresholds"}, "noValue": "0"}
    return look | {"min": 0, "custom": {"lineWidth": 1, "fillOpacity": 10, "showPoints": "never"}}


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "stat":
        return {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "none"}
    return {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }


def text() -> str:
    """The file's content."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
    sys.stdout.write(f"{FILE}\n")
