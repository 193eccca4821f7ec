"""The dashboard that is committed is the one that its script writes, and reads well."""

import json
import re
from itertools import combinations
from typing import Any

from deploy.grafana.dashboard import FILE, text

DASHBOARD = json.loads(FILE.read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def test_the_file_is_what_its_script_writes() -> None:
    """After a change: `python -m deploy.grafana.dashboard`."""
    assert FILE.read_text(encoding="utf-8") == text()


def test_every_panel_says_what_it_shows() -> None:
    """A title of its own, a sentence, a unit, and a legend where there is more than one line."""
    titles = [panel["title"] for panel in PANELS]
    assert len(set(titles)) == len(titles)
    for panel in PANELS:
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        legends = [target["legendFormat"] for target in panel["targets"]]
        assert len(set(legends)) == len(legends)
        assert len(legends) == 1 or "__auto" not in legends


def test_seconds_are_shown_as_time_and_rates_as_rates() -> None:
    """By the unit of what is asked."""
    for panel in PANELS:
        unit = panel["fieldConfig"]["defaults"]["unit"]
        asked = " ".join(target["expr"] for target in panel["targets"])
        assert (unit == "s") == ("_seconds" in asked.replace("timestamp_seconds", "")), panel["title"]
        assert (unit == "suffix: /s") == bool(re.search(r"rate\((?!\w+_bucket)", asked)), panel["title"]


def test_no_panel_covers_another() -> None:
    """Within the 24 columns of Grafana's grid."""

    def cells(place: dict[str, int]) -> set[tuple[int, int]]:
        columns = range(place["x"], place["x"] + place["w"])
        return {(x, y) for x in columns for y in range(place["y"], place["y"] + place["h"])}

    places: list[dict[str, Any]] = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    assert not any(cells(one) & cells(other) for one, other in combinations(places, 2))
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(places)
