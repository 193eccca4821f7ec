"""The dashboard as code: `python -m deploy.grafana.dashboard` writes dashboards/penstock.json.

A test holds the file against this script and runs every query on a real Prometheus.
"""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.grafana.panels import ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.grafana.panels import Panel, Row

FILE = Path(__file__).parent / "dashboards" / "penstock.json"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24


def dashboard() -> dict[str, Any]:
    """The whole dashboard in Grafana's JSON model."""
    return {
        "uid": "penstock",
        "title": "Penstock",
        "description": "Written by deploy/grafana/dashboard.py from deploy/grafana/panels.py; change it there.",
        "tags": ["penstock"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_datasource(), _queue()]},
        "panels": list(_laid_out(ROWS)),
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


def _laid_out(rows: tuple[Row, ...]) -> Iterator[dict[str, Any]]:
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
        return look | {"color": {"mode": "thresholds"}, "noValue": "no data"}
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
