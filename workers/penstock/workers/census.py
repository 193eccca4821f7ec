"""Who is there: the processes of a pool, read from shared memory at each scrape, so that it holds however one ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily

from penstock.schemas.version import __version__
from penstock.workers import board

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from penstock.workers.board import Page

KINDS = {board.WORKER: "worker", board.LANE: "lane", board.DISPATCHER: "dispatcher", board.MONITOR: "monitor"}


class Census:
    """`wanted` says how many processes of a kind there should be, `threads` how many jobs they can run at a time."""

    def __init__(
        self, pages: Iterable[Page], *, pool: str, has_broker: bool, wanted: Mapping[int, int], threads: int
    ) -> None:
        self._pages = pages
        self._pool = pool
        self._transport = "rabbitmq" if has_broker else "ledger"
        self._wanted = wanted
        self._threads = threads

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The families, for prometheus-client."""
        info = GaugeMetricFamily(
            "penstock_info", "Always 1; the labels say what runs", labels=["pool", "version", "transport"]
        )
        info.add_metric([self._pool, __version__, self._transport], 1)
        yield info
        yield from self._processes()
        if self._threads:
            yield from self._jobs()

    def healthy(self, kind: int) -> int:
        """How many processes of a kind run and have lately proved that they consume, or dispatch."""
        return sum(_works(page) for page in self._present(kind))

    def _processes(self) -> Iterator[GaugeMetricFamily]:
        labels = ["pool", "kind"]
        wanted = GaugeMetricFamily("penstock_processes_wanted", "Processes that there should be", labels=labels)
        alive = GaugeMetricFamily("penstock_processes", "Processes of the pool", labels=labels)
        healthy = GaugeMetricFamily(
            "penstock_processes_healthy", "Processes that have proved to consume or dispatch", labels=labels
        )
        for kind, number in self._wanted.items():
            wanted.add_metric([self._pool, KINDS[kind]], number)
        for kind, name in KINDS.items():
            alive.add_metric([self._pool, name], len(self._present(kind)))
            healthy.add_metric([self._pool, name], self.healthy(kind))
        yield from (wanted, alive, healthy)

    def _jobs(self) -> Iterator[GaugeMetricFamily]:
        in_flight = GaugeMetricFamily("penstock_jobs_in_flight", "Jobs that a thread is running", labels=["pool"])
        threads = GaugeMetricFamily("penstock_threads", "Worker threads of the pool", labels=["pool"])
        workers = [*self._present(board.WORKER), *self._present(board.LANE)]
        in_flight.add_metric([self._pool], sum(len(page.running()) for page in workers))
        threads.add_metric([self._pool], self._threads)
        yield from (in_flight, threads)

    def _present(self, kind: int) -> list[Page]:
        return [page for page in self._pages if page.process_id is not None and page.kind == kind]


def _works(page: Page) -> bool:
    return page.state == board.RUNNING and page.is_healthy
