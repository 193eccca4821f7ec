"""The tables of `docs/benchmarks.md`, between its markers, and the plot beside it, from what was recorded."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import pygal
from benchmarks.peers.field import PEERS
from benchmarks.peers.race import ENTRANTS
from benchmarks.processes import cpu_names
from benchmarks.rounds import Figure, Ratio, figure, spread, wanted
from pygal.style import CleanStyle

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchmarks.record import Record
    from benchmarks.rounds import Line, Measurement, Sample

BEGIN, END = "<!-- what follows is written by `make bench` -->\n", "<!-- to here -->\n"
ROUNDS_ENOUGH = 3
COSTS = ("CPU s per 10,000 jobs: worker", "broker", "database", "peak MB of a worker process")


def write(record: Record, measurements: Mapping[str, Measurement], *, folder: Path) -> None:
    """Put the tables into the page and draw the plot."""
    page = folder / "benchmarks.md"
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{tables(record, measurements)}\n{END}{after}")
    race = record.rounds.get("race")
    if race:
        (folder / "benchmarks.svg").write_bytes(plot(race))


def tables(record: Record, measurements: Mapping[str, Measurement]) -> str:
    """All that is generated."""
    parts = [measured_on(record)]
    if race := record.rounds.get("race"):
        parts += ["![jobs per second](benchmarks.svg)", counted(race), race_table(race), settings_table()]
    for name, measurement in measurements.items():
        if name in record.rounds and name != "race":
            parts.append(lines_table(measurement, record.rounds[name]))
    return "\n\n".join(parts) + "\n"


def measured_on(record: Record) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in sorted(record.versions.items()))
    return f"Measured on {record.date} at commit `{record.commit}` on {record.machine}; {versions}."


def counted(rounds: Sequence[Sample]) -> str:
    """How many rounds a table is made of; fewer than three prove little."""
    if len(rounds) >= ROUNDS_ENOUGH:
        return f"{len(rounds)} rounds."
    return f"**{len(rounds)} round{'s' if len(rounds) > 1 else ''} only: an indication, no more.**"


def race_table(rounds: Sequence[Sample]) -> str:
    """Everybody's drain."""
    heads = ("no-op jobs of 200 bytes", "jobs/s, median (least to most)", "× Dramatiq", "wanted", *COSTS)
    rows = [f"| {' | '.join(heads)} |", "|---" + "|--:" * (len(heads) - 1) + "|"]
    for it in ENTRANTS:
        rates = [sample[it.name] for sample in rounds]
        line = Ratio(it.name, it.name, it.beside, at_least=it.wanted)
        values = line.values(rounds)
        costs = [median(rounds, name) for name in (*cpu_names(it.name), f"{it.name}: peak MB")]
        cells = [it.name, spread(rates), spread(values), wanted(values, line), *costs]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def settings_table() -> str:
    """How the others are set."""
    rows = ["| peer | how it is set |", "|---|---|"]
    rows += [f"| {peer.name} | {peer.settings} |" for peer in PEERS]
    return "\n".join(rows)


def lines_table(measurement: Measurement, rounds: Sequence[Sample]) -> str:
    """What one measurement is about, and its lines."""
    rows = ["| | ours : theirs | median (least to most) | wanted |", "|---|--:|--:|--:|"]
    rows += [line_row(line, rounds) for line in measurement.lines]
    return f"{measurement.about.strip()} {counted(rounds)}\n\n" + "\n".join(rows)


def line_row(line: Line, rounds: Sequence[Sample]) -> str:
    values = line.values(rounds)
    sides, sign = ("", "") if isinstance(line, Figure) else (line.figures(rounds), "× ")
    return f"| {line.label} | {sides} | {sign}{spread(values)} | {wanted(values, line)} |"


def median(rounds: Sequence[Sample], name: str) -> str:
    return figure(statistics.median(sample[name] for sample in rounds))


def plot(rounds: Sequence[Sample]) -> bytes:
    """A bar for each entrant, the fastest on top. Without scripts, so that it can be shown anywhere."""
    medians = {it.name: statistics.median(sample[it.name] for sample in rounds) for it in ENTRANTS}
    chart = pygal.HorizontalBar(
        title="Jobs per second: no-op jobs of 200 bytes, drained from a full queue",
        style=CleanStyle(value_font_size=12, colors=("#8a8a8a",)),
        js=(),
        show_legend=False,
        print_values=True,
        value_formatter=lambda value: f"{value:,.0f}",
        width=900,
        height=460,
    )
    slowest_first = sorted(medians, key=medians.__getitem__)
    chart.x_labels = slowest_first
    colours = {name: "#1f77b4" if name.startswith("Penstock") else "#9a9a9a" for name in slowest_first}
    chart.add("jobs/s", [{"value": medians[name], "color": colours[name]} for name in slowest_first])
    rendered: bytes = chart.render()
    return rendered
