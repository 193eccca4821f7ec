"""All measurements, in rounds, with the peers: writes `docs/benchmarks.json`, the tables of `docs/benchmarks.md` and
the plot. `make bench` runs it, in an environment that has the peers."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from benchmarks import (
    busy,
    dispatching,
    embedded,
    latency,
    limits,
    memory,
    microseconds,
    pauses,
    publishing,
    report,
    transactional,
)
from benchmarks.peers import race
from benchmarks.peers.field import PEERS
from benchmarks.record import Record
from benchmarks.rounds import Measurement, run
from benchmarks.servers import servers

MEASUREMENTS: dict[str, Measurement] = {
    "race": race.MEASUREMENT,
    "publishing": publishing.MEASUREMENT,
    "transactional": transactional.MEASUREMENT,
    "dispatching": dispatching.MEASUREMENT,
    "pauses": pauses.MEASUREMENT,
    "latency": latency.MEASUREMENT,
    "busy": busy.MEASUREMENT,
    "embedded": embedded.MEASUREMENT,
    "microseconds": microseconds.MEASUREMENT,
    "memory": memory.MEASUREMENT,
    "limits": limits.MEASUREMENT,
}
FOLDER = Path(__file__).parents[1] / "docs"
FILE = FOLDER / "benchmarks.json"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--only", nargs="+", choices=MEASUREMENTS, default=list(MEASUREMENTS), metavar="NAME")
    arguments.add_argument("--add", action="store_true", help="add to what was measured before, on the same machine")
    arguments.add_argument("--report", action="store_true", help="only write the tables again")
    options = arguments.parse_args()
    if not options.report:
        measure(options.only, rounds=options.rounds, add=options.add)
    report.write(Record.read(FILE), MEASUREMENTS, folder=FOLDER)


def measure(names: list[str], *, rounds: int, add: bool) -> None:
    """Make the rounds, and write each down."""
    started = time.monotonic()
    with servers() as where:
        record = Record.of(where, packages={peer.package for peer in PEERS})
        if add and FILE.exists():
            record.rounds = Record.read(FILE).rounds
        for _ in range(rounds):
            found = run(where, {MEASUREMENTS[name]: 1 for name in names})
            for name in names:
                record.rounds.setdefault(name, []).extend(found[MEASUREMENTS[name]])
            record.write(FILE)  # what is cut off has at least its first rounds
    print(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
