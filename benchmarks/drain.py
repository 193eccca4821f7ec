"""How fast a queue is drained: no-op jobs of 200 bytes, one worker process with 8 threads, Penstock beside plain
Dramatiq on the same RabbitMQ, round by round.

Penstock's clock stops when the last job is completed in the ledger (a full row each, payload included, deduplicated
by id), Dramatiq's when the last handler runs. Run it with `make bench`; `--jobs` and `--rounds` change the size.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import psycopg
from benchmarks.servers import Servers, servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

THREADS = 8
PADDING = "x" * 170
TIMEOUT_SECONDS = 300.0


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--jobs", type=int, default=20_000)
    arguments.add_argument("--rounds", type=int, default=3)
    options = arguments.parse_args()
    rates: dict[str, list[float]] = {"dramatiq": [], "penstock": [], "penstock, with dedup keys": []}
    with servers() as where:
        for number in range(1, options.rounds + 1):
            rates["dramatiq"].append(drain_dramatiq(where, jobs=options.jobs))
            rates["penstock"].append(drain_penstock(where, jobs=options.jobs, keyed=False))
            rates["penstock, with dedup keys"].append(drain_penstock(where, jobs=options.jobs, keyed=True))
            print(f"round {number}: " + ", ".join(f"{name} {list_[-1]:,.0f}/s" for name, list_ in rates.items()))
    print(f"\n{'jobs per second':28} {'median':>8} {'min':>8} {'max':>8}   × dramatiq (median of the rounds)")
    for name, found in rates.items():
        ratio = statistics.median(ours / theirs for ours, theirs in zip(found, rates["dramatiq"], strict=True))
        print(f"{name:28} {statistics.median(found):8,.0f} {min(found):8,.0f} {max(found):8,.0f}   {ratio:.2f}")


def drain_dramatiq(where: Servers, *, jobs: int) -> float:
    """Jobs per second of plain Dramatiq, from its first handler to its last."""
    broker = where.broker()
    with clock(jobs, BENCHMARK_BROKER=broker) as (environment, ticks):
        script = f"from benchmarks.dramatiq_jobs import noop\nfor n in range({jobs}): noop.send(n, {PADDING!r})\n"
        subprocess.run([sys.executable, "-c", script], env=environment, check=True)
        command = ["-m", "dramatiq", "benchmarks.dramatiq_jobs", "-p", "1", "-t", str(THREADS)]
        with worker(command, environment) as process:
            first, last = wait_for(lambda: ticks() if len(ticks()) == 2 else None, process)
    return jobs / (last - first)


def drain_penstock(where: Servers, *, jobs: int, keyed: bool) -> float:
    """Jobs per second of Penstock, from its first handler to the last job that the ledger has completed."""
    broker, ledger = where.broker(), where.ledger()
    with clock(jobs, PENSTOCK_BROKER_URL=broker, PENSTOCK_DATABASE_URL=ledger) as (environment, ticks):
        key = "f'key-{n}'" if keyed else "None"
        script = (
            "from benchmarks.penstock_jobs import Noop\n"
            "from penstock.producers import Producer, Publish\n"
            "from penstock.workers.topology import declare\n"
            f"declare({broker!r}, {{'benchmark': {{'benchmark.noop'}}}}, name='benchmark')\n"
            f"with Producer({broker!r}) as producer:\n"
            f"    producer.publish_many(Publish(Noop(n=n, padding={PADDING!r}), key={key}) for n in range({jobs}))\n"
        )
        subprocess.run([sys.executable, "-c", script], env=environment, check=True)
        command = ["-m", "penstock.console", "worker", "--jobs", "benchmarks.penstock_jobs", "--processes", "1"]
        command += ["--threads", str(THREADS), "--metrics-port", "0"]
        address = ledger.replace("+psycopg", "")
        with worker(command, environment) as process, psycopg.connect(address, autocommit=True) as sql:
            first, _ = wait_for(lambda: ticks() if len(ticks()) == 2 else None, process)
            completed = "SELECT count(*), extract(epoch FROM max(finished_at)) FROM jobs WHERE state = 'completed'"

            def all_completed() -> float | None:
                count, last = sql.execute(completed).fetchone() or (0, None)
                return float(last) if count == jobs else None

            last = wait_for(all_completed, process)
    where.databases.drop(ledger)
    return jobs / (last - first)


@contextmanager
def clock(jobs: int, **settings: str) -> Iterator[tuple[dict[str, str], Callable[[], list[float]]]]:
    """The environment of a run, and how to read its clock."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "clock"
        environment = {
            **os.environ,
            **settings,
            "BENCHMARK_JOBS": str(jobs),
            "BENCHMARK_CLOCK": str(file),
            "PENSTOCK_STATE_DIR": folder,
            "PENSTOCK_LOG_LEVEL": "WARNING",
        }

        def ticks() -> list[float]:
            return [float(line) for line in file.read_text().split()] if file.exists() else []

        yield environment, ticks


@contextmanager
def worker(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A worker, stopped at the end however the measurement went."""
    process = subprocess.Popen([sys.executable, *command], env=environment, start_new_session=True)
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


def wait_for(look: Callable[[], T | None], process: subprocess.Popen[bytes]) -> T:
    """What `look` finds, as soon as it finds something; ends the program if the worker ends, or takes too long."""
    until = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < until:
        found = look()
        if found is not None:
            return found
        if process.poll() is not None:
            sys.exit(f"the worker ended with status {process.returncode} before the jobs were done")
        time.sleep(0.05)
    sys.exit(f"the jobs were not done within {TIMEOUT_SECONDS:g} s")


if __name__ == "__main__":
    main()
