"""The others: how each one's queue is filled and its worker started. Each is set as its documents recommend for many
short jobs, and keeps what it promises by default."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

from benchmarks.contenders import THREADS

if TYPE_CHECKING:
    from benchmarks.load import Load
    from benchmarks.site import Site


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A contender whose jobs, and the way to fill its queue, are in a module of its own."""

    name: str
    package: str
    jobs: str
    words: tuple[str, ...]
    settings: str
    jobs_per_run: int
    filler: str = "fill"

    def fill(self, site: Site, load: Load) -> None:
        script = f"from benchmarks.load import Load\nfrom benchmarks.peers.{self.jobs} import {self.filler}\n"
        script += f"{self.filler}({load!r})"
        subprocess.run([sys.executable, "-c", script], env=site.environment, check=True)

    def command(self, *, processes: int) -> list[str]:
        return ["-m", *(word.format(processes=processes) for word in self.words)]

    def finished(self, site: Site, load: Load) -> float | None:
        progress = site.progress()
        return progress.last if progress and progress.jobs == load.jobs else None

    @property
    def version(self) -> str:
        return f"{self.package} {version(self.package)}"


CELERY_WORDS = (
    *("worker", "--pool", "prefork", "--concurrency", "2", "--loglevel", "ERROR"),
    *("--without-gossip", "--without-mingle", "--without-heartbeat"),
)

PEERS = (
    Peer(
        name="Celery",
        package="celery",
        jobs="celery_jobs",
        words=("celery", "--app", "benchmarks.peers.celery_jobs:app", *CELERY_WORDS),
        settings="prefork of 2, a process for each core; prefetch 128 a process; no results, events, gossip",
        jobs_per_run=8_000,
    ),
    Peer(
        name="Celery, quorum, acks_late",
        package="celery",
        jobs="celery_jobs",
        words=("celery", "--app", "benchmarks.peers.celery_jobs:quorum_app", *CELERY_WORDS),
        settings="the same on a quorum queue with `acks_late` and confirmed publishes",
        jobs_per_run=8_000,
        filler="fill_quorum",
    ),
    Peer(
        name="Taskiq",
        package="taskiq",
        jobs="taskiq_jobs",
        words=(
            *("taskiq", "worker", "benchmarks.peers.taskiq_jobs:broker", "--workers", "{processes}"),
            *("--log-level", "ERROR"),
        ),
        settings="taskiq-aio-pika on a quorum queue, uvloop, 100 tasks at a time (its default), prefetch 200",
        jobs_per_run=15_000,
    ),
    Peer(
        name="FastStream",
        package="faststream",
        jobs="faststream_jobs",
        words=("faststream", "run", "benchmarks.peers.faststream_jobs:app", "--log-level", "error"),
        settings="quorum queue, uvloop, ack after the handler, prefetch 200",
        jobs_per_run=20_000,
    ),
    Peer(
        name="Procrastinate",
        package="procrastinate",
        jobs="procrastinate_jobs",
        words=(
            *("procrastinate", "--app", "benchmarks.peers.procrastinate_jobs.app", "--log-level", "error"),
            *("worker", "--concurrency", str(THREADS)),
        ),
        settings=f"Postgres alone, concurrency {THREADS}",
        jobs_per_run=2_500,
    ),
    Peer(
        name="PgQueuer, batch 100",
        package="pgqueuer",
        jobs="pgqueuer_jobs",
        words=("benchmarks.peers.pgqueuer_jobs",),
        settings="Postgres alone, asyncpg, uvloop, batches of 100",
        jobs_per_run=40_000,
    ),
)
