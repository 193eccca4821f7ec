"""Writes the figures of the last run into docs/reliability.md.

PENSTOCK_FAULTS_RESULTS=results python -m pytest tests/faults
python -m tests.faults.chaos SEED MINUTES --result chaos.json      as often as you like
python -m tests.faults.figures results chaos.json …
"""

import json
import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.workers.pool import REPOSITORY

PAGE = REPOSITORY / "docs" / "reliability.md"
BLOCK = re.compile(r"(<!-- figures of (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main(results: Path, runs: Iterable[Path]) -> None:
    """Replace the tables."""
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    chaos = [json.loads(path.read_text()) for path in runs]
    tables = {
        "cases": table_of_cases([line for line in lines if "case" in line]),
        "neighbours": table_of_neighbours([line for line in lines if "neighbour" in line]),
        "chaos": table_of_chaos(chaos),
    }
    PAGE.write_text(BLOCK.sub(lambda found: f"{found[1]}{tables[found[2]]}{found[3]}", PAGE.read_text()))


def table_of_cases(cases: list[dict[str, Any]]) -> str:
    """The latest result of each case, in its order."""
    latest = {case["case"]: case for case in cases}
    rows = [
        f"| {name} | {it['jobs']} | {it['unsure']} | {it['lost']} | {it['doubled']} | {it['rest_seconds']:.1f} |"
        for name, it in sorted(latest.items())
    ]
    head = (
        "| case | jobs | publishes without an answer | lost | done twice | seconds to rest |\n|---|---|---|---|---|---|"
    )
    return _dated([head, *rows])


def table_of_neighbours(results: list[dict[str, Any]]) -> str:
    """The latest result of each trouble."""
    latest = {it["neighbour"]: it for it in results}
    rows = [f"| {name} | {it['jobs_per_second']:.0f} | {it['share']:.0%} |" for name, it in sorted(latest.items())]
    return _dated(["| the other queue is | jobs per second without it | with it |\n|---|---|---|", *rows])


def table_of_chaos(runs: list[dict[str, Any]]) -> str:
    """One row for each run, and their sum."""
    rows = [_row(run) for run in runs]
    total = [sum(row[column] for row in rows) for column in range(1, len(rows[0]))] if rows else []
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in [*rows, *([["all", *total]] if total else [])]]
    head = "| seed | seconds | faults | jobs | lost | done twice | out of nowhere | repeated under their key |"
    return _dated([head, "|---|---|---|---|---|---|---|---|", *lines])


def _row(run: dict[str, Any]) -> list[Any]:
    verdict = run["verdict"]
    found = [len(verdict[what]) for what in ("lost", "doubled", "unexpected")]
    faults = sum(run["faults"].values())
    return [run["seed"], round(run["seconds"]), faults, verdict["confirmed"], *found, verdict["repeated"]]


def _dated(lines: list[str]) -> str:
    return "\n".join([f"Written on {datetime.now(UTC):%Y-%m-%d}.", "", *lines, ""])


if __name__ == "__main__":
    main(Path(sys.argv[1]), map(Path, sys.argv[2:]))
