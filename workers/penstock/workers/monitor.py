"""The process that answers for a pool: metrics of all its processes, and health that proves consumption."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from penstock.producers.status_server import StatusServer
from penstock.workers import board
from penstock.workers.census import Census
from penstock.workers.metric_files import gathered

if TYPE_CHECKING:
    from pathlib import Path

    from penstock.workers.board import Board
    from penstock.workers.pool import Pool


class Health:
    """`/healthz`: at least one worker consumes. `/readyz`: all that were asked for do, and the dispatcher passes."""

    def __init__(self, census: Census, pool: Pool) -> None:
        self._census = census
        self._pool = pool

    def judge(self, path: str) -> tuple[bool, str]:
        """(whether it is so, a line for people)."""
        workers = self._census.healthy(board.WORKER)
        wanted = self._pool.processes
        if path == "/healthz":
            return workers > 0, f"{workers} of {wanted} worker processes consume"
        dispatching = self._census.healthy(board.DISPATCHER) > 0 or not self._pool.with_dispatcher
        said = "" if dispatching else "; the dispatcher does not pass"
        return workers >= wanted and dispatching, f"{workers} of {wanted} worker processes consume{said}"


class Monitor:
    """Serves until it is told to stop."""

    def __init__(self, board_: Board, pool: Pool, *, metrics_dir: Path, page: board.Page, log: Any) -> None:
        self.stop_requested = threading.Event()
        self._page = page
        census = Census(
            board_,
            pool=pool.name,
            has_broker=pool.has_broker,
            wanted={board.WORKER: pool.processes, board.DISPATCHER: int(pool.with_dispatcher)},
            threads=pool.processes * pool.threads,
        )
        self._server = StatusServer(
            address=(pool.metrics_host, pool.metrics_port or 0),
            registry=gathered(census, metrics_dir),
            judge=Health(census, pool).judge,
            log=log,
        )

    def run(self) -> int:
        """Returns the exit status."""
        self._page.state = board.RUNNING
        with self._server:
            while not self.stop_requested.wait(1.0):
                self._page.prove_health(for_seconds=5.0)
        return 0

    def request_stop(self) -> None:
        self.stop_requested.set()
