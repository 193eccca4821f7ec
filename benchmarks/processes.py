"""What processes cost, read from /proc: CPU seconds and memory of whole trees, the memory of one process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
LISTENING = "0A"
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Cpu(NamedTuple):
    """Seconds of a worker with its children, of the broker, of the database. Not a number where it is not known."""

    worker: float
    broker: float
    database: float

    def since(self, before: Cpu) -> Cpu:
        """What has been used from `before` to now."""
        return Cpu(*(now - then for now, then in zip(self, before, strict=True)))

    def sample(self, name: str, jobs: int) -> dict[str, float]:
        """Seconds per 10,000 jobs, by the names that `cpu_names` gives."""
        return {label: 10_000 * part / jobs for label, part in zip(cpu_names(name), self, strict=True)}


def cpu_names(name: str) -> tuple[str, ...]:
    """What the three are called in a sample."""
    return tuple(f"{name}: {part} s" for part in Cpu._fields)


def cpu_seconds(root: int | None) -> float:
    """What the process, its descendants and those that it has buried have used; not a number if that is unknown."""
    if root is None:
        return float("nan")
    stats = _stats()
    # utime, stime, and both of the children that were waited for
    ticks = sum(int(value) for pid in _tree(root, stats) if pid in stats for value in stats[pid][11:15])
    return ticks / TICKS_PER_SECOND


def peak_megabytes(pid: int) -> float:
    """The most memory that the process has had resident."""
    for line in (PROC / str(pid) / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def private_megabytes(pid: int) -> float:
    """What the process has for itself: pages that it shares with those it was forked from do not count."""
    return _resident_megabytes(pid, "Private_")


def tree_megabytes(root: int) -> float:
    """What the process and its descendants have resident together; of a page that others share, their part (PSS)."""
    return sum(_resident_megabytes(pid, "Pss:") for pid in _tree(root, _stats()))


def _resident_megabytes(pid: int, kind: str) -> float:
    try:
        rollup = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0.0
    return sum(int(line.split()[1]) for line in rollup if line.startswith(kind)) / 1024


def listener(port: int) -> int | None:
    """The process of this machine that listens on a TCP port; None if it is not to be seen from here."""
    sockets = {f"socket:[{inode}]" for file in ("tcp", "tcp6") for inode in _listening(PROC / "net" / file, port)}
    found = {int(folder.parent.name) for folder in PROC.glob("[0-9]*/fd") if _holds(folder, sockets)}
    stats = _stats()
    return next((pid for pid in sorted(found) if pid in stats and int(stats[pid][1]) not in found), None)


def _listening(table: Path, port: int) -> list[str]:
    rows = [line.split() for line in table.read_text().splitlines()[1:]] if table.exists() else []
    return [row[9] for row in rows if row[3] == LISTENING and int(row[1].rpartition(":")[2], 16) == port]


def _holds(folder: Path, sockets: set[str]) -> bool:
    try:
        return any(str(entry.readlink()) in sockets for entry in folder.iterdir())
    except OSError:  # it has ended, or belongs to somebody else
        return False


def thread_seconds(pid: int, thread: int) -> float:
    """What one thread of a process has used."""
    fields = (PROC / str(pid) / "task" / str(thread) / "stat").read_text().rpartition(")")[2].split()
    return sum(int(value) for value in fields[11:13]) / TICKS_PER_SECOND


def _tree(root: int, stats: dict[int, list[str]]) -> set[int]:
    """The process and its descendants."""
    tree, added = {root}, {root}
    while added:
        added = {pid for pid, stat in stats.items() if int(stat[1]) in added} - tree
        tree |= added
    return tree


def _stats() -> dict[int, list[str]]:
    """The fields of /proc/PID/stat after the name, for every process."""
    found = {}
    for file in PROC.glob("[0-9]*/stat"):
        try:
            found[int(file.parent.name)] = file.read_text().rpartition(")")[2].split()
        except OSError:
            continue
    return found
