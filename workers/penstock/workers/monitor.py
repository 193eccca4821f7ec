"""One port for a pool: `/metrics` of all its processes, `/healthz` and `/readyz` that prove consumption."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector

from penstock.workers import board

if TYPE_CHECKING:
    from collections.abc import Iterator

    from penstock.workers.board import Board
    from penstock.workers.pool import Pool

KINDS = {board.WORKER: "worker", board.LANE: "lane", board.DISPATCHER: "dispatcher", board.MONITOR: "monitor"}


class BoardCollector:
    """What is true this moment, read from shared memory: it holds however a process ended."""

    def __init__(self, board_: Board, pool: Pool) -> None:
        self._board = board_
        self._pool = pool

    def collect(self) -> Iterator[GaugeMetricFamily]:
        in_flight = GaugeMetricFamily("penstock_jobs_in_flight", "Jobs that a thread is running", labels=["pool"])
        alive = GaugeMetricFamily("penstock_processes", "Processes of the pool", labels=["pool", "kind"])
        healthy = GaugeMetricFamily(
            "penstock_processes_healthy", "Processes that have proved to consume or dispatch", labels=["pool", "kind"]
        )
        threads = GaugeMetricFamily("penstock_threads", "Worker threads of the pool", labels=["pool"])
        pages = [page for page in self._board if page.process_id is not None]
        workers = [page for page in pages if page.kind in (board.WORKER, board.LANE)]
        in_flight.add_metric([self._pool.name], sum(len(page.running()) for page in workers))
        threads.add_metric([self._pool.name], self._pool.processes * self._pool.threads)
        for kind, name in KINDS.items():
            of_kind = [page for page in pages if page.kind == kind]
            alive.add_metric([self._pool.name, name], len(of_kind))
            healthy.add_metric([self._pool.name, name], sum(page.is_healthy for page in of_kind))
        yield from (in_flight, alive, healthy, threads)


class Health:
    """`/healthz`: at least one worker consumes. `/readyz`: all that were asked for do, and the dispatcher passes."""

    def __init__(self, board_: Board, pool: Pool) -> None:
        self._board = board_
        self._pool = pool

    def judge(self, path: str) -> tuple[bool, str]:
        """(whether it is so, a line for people)."""
        workers = self._healthy(board.WORKER)
        wanted = self._pool.processes
        if path == "/healthz":
            return workers > 0, f"{workers} of {wanted} worker processes consume"
        dispatching = self._healthy(board.DISPATCHER) > 0 or not self._pool.with_dispatcher
        said = "" if dispatching else "; the dispatcher does not pass"
        return workers >= wanted and dispatching, f"{workers} of {wanted} worker processes consume{said}"

    def _healthy(self, kind: int) -> int:
        return sum(
            page.process_id is not None and page.kind == kind and page.state == board.RUNNING and page.is_healthy
            for page in self._board
        )


class Monitor:
    """Serves until it is told to stop."""

    def __init__(self, board_: Board, pool: Pool, *, page: board.Page, log: Any) -> None:
        self.stop_requested = threading.Event()
        self._page = page
        self._log = log
        self._registry = CollectorRegistry()
        self._registry.register(BoardCollector(board_, pool))
        pool.metrics_dir.mkdir(parents=True, exist_ok=True)
        MultiProcessCollector(self._registry, path=str(pool.metrics_dir))  # type: ignore[no-untyped-call]
        address = (pool.metrics_host, pool.metrics_port or 0)
        self.server = ThreadingHTTPServer(address, _handler(self._registry, Health(board_, pool)))

    def run(self) -> int:
        """Returns the exit status."""
        self._page.state = board.RUNNING
        host, port = self.server.server_address[:2]
        self._log.info("metrics and health", url=f"http://{host!s}:{port}/metrics")
        threading.Thread(target=self.server.serve_forever, name="monitor", daemon=True).start()
        while not self.stop_requested.wait(1.0):
            self._page.prove_health(for_seconds=5.0)
        self.server.shutdown()
        return 0

    def request_stop(self) -> None:
        self.stop_requested.set()


def _handler(registry: CollectorRegistry, health: Health) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._answer(200, generate_latest(registry), CONTENT_TYPE_LATEST)
            elif path in ("/healthz", "/readyz"):
                good, said = health.judge(path)
                self._answer(200 if good else 503, f"{said}\n".encode(), "text/plain; charset=utf-8")
            else:
                self._answer(404, b"try /metrics, /healthz or /readyz\n", "text/plain; charset=utf-8")

        def _answer(self, status: int, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its signature
            """Scrapes are not news."""

    return Handler
