"""What must not grow: memory and open files of the pools, connections to both servers."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from tests.faults.nemesis import Victim

from penstock.ledger.database import LedgerUnavailable

CONNECTIONS = text("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'penstock-%'")
ESTABLISHED = "01"  # as /proc/net/tcp says it
# The last third of a run against the first; the rest is for processes that are young in one and old in the other.
GROWTH_MAX = 1.25
LOOKS_MIN = 12


@dataclass
class Vitals:
    """Looks now and then; `grown()` says what has become more."""

    victim: Victim
    seen: dict[str, list[float]] = field(default_factory=dict)

    def look(self) -> None:
        """Measure once; what cannot be asked at the moment is left out."""
        pids = [pid for pool in self.victim.pools for pid in _living(pool.children)]
        if pids:
            self._note("memory of a process, MiB", max(map(_resident_mib, pids)))
            self._note("open files of a process", max(map(_open_files, pids)))
        self._note("connections to RabbitMQ", connections_to(self.victim.rabbitmq.address[1]))
        try:
            with self.victim.ledger.session() as session:
                self._note("connections to Postgres", float(session.connection.execute(CONNECTIONS).scalar() or 0))
        except (DBAPIError, LedgerUnavailable):
            return

    def grown(self) -> list[str]:
        """What is a quarter higher in the last third than in the first, and higher than ever then.

        Short runs cannot tell; and where processes were killed all through the first third, it was low for that.
        """
        return [
            f"{what}: {first:.0f} → {last:.0f}"
            for what, (first, last) in self._thirds().items()
            if last > max(GROWTH_MAX * first + 2, *self.seen[what][: len(self.seen[what]) // 3])
        ]

    def __str__(self) -> str:
        return "; ".join(f"{what} {first:.0f} → {last:.0f}" for what, (first, last) in self._thirds().items())

    def _thirds(self) -> dict[str, tuple[float, float]]:
        """The median of the first third and of the last."""
        found = {}
        for what, values in self.seen.items():
            if len(values) >= LOOKS_MIN:
                third = len(values) // 3
                found[what] = (statistics.median(values[:third]), statistics.median(values[-third:]))
        return found

    def _note(self, what: str, value: float) -> None:
        self.seen.setdefault(what, []).append(value)


def connections_to(port: int) -> float:
    """How many clients a server on this machine has."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return float(sum(line[1].endswith(f":{port:04X}") and line[3] == ESTABLISHED for line in lines))


def _living(children: Callable[[], dict[int, str]]) -> list[int]:
    try:
        return list(children())
    except (ValueError, OSError):
        return []


def _resident_mib(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * 4096 / 2**20


def _open_files(pid: int) -> float:
    try:
        return float(len(list(Path(f"/proc/{pid}/fd").iterdir())))
    except OSError:
        return 0.0
