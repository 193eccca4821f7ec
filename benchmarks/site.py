"""One place for one run: a fresh virtual host, a fresh database, a folder, a worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import psycopg
from benchmarks.clock import Progress, read_progress
from benchmarks.load import TABLES
from benchmarks.processes import Cpu, cpu_seconds

from penstock.ledger.retention import oldest_remembered_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.servers import Servers

T = TypeVar("T")

TIMEOUT_SECONDS = 300.0
LOOK_SECONDS = 0.005


class Site(NamedTuple):
    """Where one contender runs once."""

    servers: Servers
    broker: str
    ledger: str
    folder: Path
    since: str
    """an id that is smaller than those of all jobs that are published from now on"""

    @property
    def database(self) -> str:
        """The ledger's address as libpq takes it."""
        return self.ledger.replace("+psycopg", "")

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "BENCHMARK_BROKER": self.broker,
            "BENCHMARK_DATABASE": self.database,
            "BENCHMARK_CLOCK": str(self.folder),
            "PENSTOCK_BROKER_URL": self.broker,
            "PENSTOCK_DATABASE_URL": self.ledger,
            "PENSTOCK_STATE_DIR": str(self.folder / "state"),
            "PENSTOCK_LOG_LEVEL": "WARNING",
        }

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def progress(self) -> Progress | None:
        return read_progress(self.folder)

    def cpu(self, worker: subprocess.Popen[bytes]) -> Cpu:
        """What the worker and the servers have used by now."""
        return Cpu(*map(cpu_seconds, (worker.pid, self.servers.broker_pid, self.servers.database_pid)))


@contextmanager
def fresh_site(servers: Servers) -> Iterator[Site]:
    """A site of its own, gone afterwards. The broker's part goes with the session."""
    ledger = servers.ledger()
    try:
        with site_on(servers, ledger) as site:
            yield site
    finally:
        servers.databases.drop(ledger)


@contextmanager
def site_on(servers: Servers, ledger: str) -> Iterator[Site]:
    """A site with a ledger that exists already, and stays."""
    with tempfile.TemporaryDirectory() as folder:
        site = Site(servers, servers.broker(), ledger, Path(folder), oldest_remembered_id(datetime.now(UTC)))
        with psycopg.connect(site.database) as connection:
            connection.execute(TABLES)
        yield site


@contextmanager
def running(site: Site, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A Python program in a process group of its own, stopped at the end however the measurement went."""
    with site.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *command], env=site.environment, start_new_session=True, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(
    site: Site,
    look: Callable[[], T | None],
    process: subprocess.Popen[bytes],
    *,
    every_seconds: float = LOOK_SECONDS,
) -> T:
    """What `look` finds, as soon as it finds something; ends the program if the worker ends, or takes too long."""
    until = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < until:
        found = look()
        if found is not None:
            return found
        if process.poll() is not None:
            sys.exit(f"{site.log_text()}the worker ended with status {process.returncode} before the jobs were done")
        time.sleep(every_seconds)
    sys.exit(f"{site.log_text()}the jobs were not done within {TIMEOUT_SECONDS:g} s")
