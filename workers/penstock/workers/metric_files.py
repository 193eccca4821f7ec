"""Where the processes of a pool leave their figures: one set of files per process slot, read together at a scrape.

prometheus-client's multiprocess mode names files by pid, so that they grow for ever where processes die. Here
they are named by slot ("worker-0"): a replacement goes on with its predecessor's counters.
"""

from __future__ import annotations

import mmap
import os
import time
from bisect import bisect_left
from collections import Counter as Tally
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values
from prometheus_client.multiprocess import MultiProcessCollector

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from prometheus_client.registry import Collector


BLANK_BYTES = mmap.PAGESIZE  # all zero: no figure is in it yet


class MetricFiles:
    """The files of one process. Gauges start afresh: nobody vouches any more for what the slot's last process saw."""

    def __init__(self, directory: Path, slot: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        for kind in ("counter", "histogram"):
            if not (file := directory / f"{kind}_{slot}.db").exists():
                _appear(file)
        _appear(directory / f"gauge_mostrecent_{slot}.db")
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
        values.ValueClass = values.MultiProcessValue(lambda: slot)  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        """Its figures add up over processes."""
        return Counter(name, text, labels, registry=self._registry)

    def histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        """Its figures add up over processes."""
        return Histogram(name, text, labels, buckets=buckets, registry=self._registry)

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        """Of several processes, the one that set it last is believed."""
        return Gauge(name, text, labels, multiprocess_mode="mostrecent", registry=self._registry)


def _appear(file: Path) -> None:
    """There at once and whole, in place of what was there.

    prometheus-client makes a file empty and then long. A process that dies in between, or a scrape that comes in
    between, would find one without its first word, and all figures of the pool could not be read any more.
    """
    made = file.with_suffix(".new")
    made.write_bytes(bytes(BLANK_BYTES))
    made.replace(file)


def start_afresh(directory: Path) -> None:
    """Forget the figures of an earlier run, and note since when we count: what is seen first later began at zero."""
    for file in directory.glob("*.db"):
        file.unlink(missing_ok=True)
    started = MetricFiles(directory, "start").gauge(
        "penstock_started_timestamp_seconds", "When the counters of all processes began at zero"
    )
    started.set(time.time())


def gathered(collector: Collector, directory: Path) -> CollectorRegistry:
    """What a scrape collects: what the collector says, and the figures that processes leave in the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    registry = CollectorRegistry()
    registry.register(collector)
    MultiProcessCollector(registry, path=str(directory))  # type: ignore[no-untyped-call]
    return registry


def count(metric: Counter, labels: Iterable[tuple[str, ...]]) -> None:
    """One step for each set of labels, however often it comes."""
    for names, number in Tally(labels).items():
        metric.labels(*names).inc(number)


def observe_many(histogram: Any, bounds: Sequence[float], seen: Sequence[float]) -> None:
    """What `observe` does, for many values at once: each single one would cost a file write of its own."""
    for index, number in Tally(bisect_left(bounds, value) for value in seen).items():
        histogram._buckets[index].inc(number)  # noqa: SLF001 - see the docstring
    histogram._sum.inc(sum(seen))  # noqa: SLF001
