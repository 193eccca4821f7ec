"""Jobs that carry their own clock: when the first was started and the last, so that start-up is not counted.

Each process that runs jobs keeps its count in a small file of its own, mapped into memory: a tick costs well under a
microsecond, is the same for every contender, and the measuring program can read it at any time.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import threading
import time
from array import array
from pathlib import Path
from typing import NamedTuple

_TICKS = struct.Struct("=ddq")  # first, last, count: the count is written last


class Clock:
    """Counts runs. `tick` where a job does its work; `arrived` where it also tells when it was sent."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ticks: mmap.mmap | None = None
        self._first = 0.0
        self._count = 0
        os.register_at_fork(after_in_child=self._start_over)

    def tick(self) -> None:
        now = time.time()
        with self._lock:
            if self._ticks is None:
                self._ticks, self._first = _mapped(_file("ticks")), now
                threads = {str(thread.native_id): thread.name for thread in threading.enumerate()}
                _file("threads").write_text(json.dumps(threads))
            self._count += 1
            _TICKS.pack_into(self._ticks, 0, self._first, now, self._count)

    def arrived(self, sent: float) -> None:
        """Note how long the job took from before its publish to here, and count it."""
        waited = time.time() - sent
        with _file("waits").open("ab", buffering=0) as file:
            file.write(struct.pack("=d", waited))
        self.tick()

    def _start_over(self) -> None:
        """A child counts for itself."""
        self._lock = threading.Lock()
        self._ticks = None
        self._count = 0


class Progress(NamedTuple):
    """What the clocks of all processes say. `first` and `last` are seconds since the epoch."""

    jobs: int
    first: float
    last: float
    pids: tuple[int, ...]

    @property
    def seconds(self) -> float:
        return self.last - self.first


def read_progress(folder: Path) -> Progress | None:
    """The sum over all processes; None before the first job."""
    files = sorted(folder.glob("*.ticks"))
    found = [_TICKS.unpack(data) for file in files if len(data := file.read_bytes()) == _TICKS.size]
    found = [ticks for ticks in found if ticks[2]]
    if not found:
        return None
    firsts, lasts, counts = zip(*found, strict=True)
    return Progress(sum(counts), min(firsts), max(lasts), tuple(int(file.stem) for file in files))


def read_waits(folder: Path) -> list[float]:
    """How long each job took that told, in seconds and in the order of arrival within each process."""
    return [seconds for file in folder.glob("*.waits") for seconds in array("d", file.read_bytes())]


def read_threads(folder: Path) -> dict[int, dict[int, str]]:
    """The names of the threads by their ids at the first job, of each process by its pid."""
    return {
        int(file.stem): {int(thread): name for thread, name in json.loads(file.read_text()).items()}
        for file in folder.glob("*.threads")
    }


def _file(kind: str) -> Path:
    return Path(os.environ["BENCHMARK_CLOCK"]) / f"{os.getpid()}.{kind}"


def _mapped(file: Path) -> mmap.mmap:
    file.write_bytes(bytes(_TICKS.size))
    with file.open("r+b") as opened:
        return mmap.mmap(opened.fileno(), _TICKS.size)
