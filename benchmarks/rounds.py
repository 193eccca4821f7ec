"""Measurements in rounds: everything that is compared is measured in each round, so that a machine whose speed
drifts slows both; ratios are taken within a round, and their median counts."""

from __future__ import annotations

import argparse
import logging
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import structlog
from benchmarks.servers import servers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.servers import Servers

Sample = dict[str, float]
"""Figures of one round by name."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """One line: ours over theirs."""

    label: str
    ours: str
    theirs: str
    at_least: float | None = None
    at_most: float | None = None

    def values(self, rounds: Sequence[Sample]) -> list[float]:
        """The ratio of each round."""
        return [sample[self.ours] / sample[self.theirs] for sample in rounds]

    def figures(self, rounds: Sequence[Sample]) -> str:
        """The medians of both sides."""
        ours, theirs = (statistics.median(sample[name] for sample in rounds) for name in (self.ours, self.theirs))
        return f"{figure(ours)} : {figure(theirs)}"

    def text(self, rounds: Sequence[Sample]) -> str:
        values = self.values(rounds)
        return f"{self.label:58} {self.figures(rounds):>17}   × {spread(values):22} {wanted(values, self)}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line: a figure by itself."""

    label: str
    name: str
    at_least: float | None = None
    at_most: float | None = None

    def values(self, rounds: Sequence[Sample]) -> list[float]:
        """The figure of each round."""
        return [sample[self.name] for sample in rounds]

    def text(self, rounds: Sequence[Sample]) -> str:
        values = self.values(rounds)
        return f"{self.label:58} {'':17}     {spread(values):22} {wanted(values, self)}"


Line = Ratio | Figure


class Measurement(NamedTuple):
    """What one module measures. `measure` makes one round; its second argument scales the number of jobs."""

    about: str
    measure: Callable[[Servers, float], Sample]
    lines: tuple[Line, ...]


def main(measurement: Measurement) -> None:
    """The command line of one measurement."""
    arguments = argparse.ArgumentParser(
        description=measurement.about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--scale", type=float, default=1.0, help="so many times the usual number of jobs")
    options = arguments.parse_args()
    with servers() as where:
        run(where, {measurement: options.rounds}, scale=options.scale)


def run(where: Servers, rounds: Mapping[Measurement, int], *, scale: float = 1.0) -> dict[Measurement, list[Sample]]:
    """Make so many rounds of each, in turns, print the lines and return the figures."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    found: dict[Measurement, list[Sample]] = {measurement: [] for measurement in rounds}
    for number in range(max(rounds.values())):
        for measurement, wanted in rounds.items():
            if number < wanted:
                found[measurement].append(measurement.measure(where, scale))
    for measurement, samples in found.items():
        for line in measurement.lines:
            print(line.text(samples))
    return found


def figure(value: float) -> str:
    """As many digits as mean something."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def spread(values: Sequence[float]) -> str:
    """Median, least and most."""
    return f"{figure(statistics.median(values))} ({figure(min(values))} to {figure(max(values))})"


def wanted(values: Sequence[float], line: Line) -> str:
    """What was aimed at, and whether the median is there; nothing if nothing was."""
    median = statistics.median(values)
    if line.at_least is not None:
        return f"≥ {line.at_least:g}{'' if median >= line.at_least else ', missed'}"
    if line.at_most is not None:
        return f"≤ {line.at_most:g}{'' if median <= line.at_most else ', missed'}"
    return ""
