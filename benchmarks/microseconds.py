"""Where the microseconds of one no-op job go: the CPU of each thread of a Penstock worker process, of RabbitMQ and of
Postgres, by /proc. A thread may use one core, and Python lets one of them run at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.clock import read_threads
from benchmarks.contenders import Penstock
from benchmarks.load import Load
from benchmarks.processes import thread_seconds
from benchmarks.rounds import Figure, Line, Measurement, Sample, main
from benchmarks.site import fresh_site, running, wait_for

if TYPE_CHECKING:
    from benchmarks.servers import Servers
    from benchmarks.site import Site

JOBS = 120_000

PARTS = {
    "deliveries": "deliveries: read from RabbitMQ",
    "intake": "intake: checked, claimed in the ledger, acked",
    "worker": "the 8 worker threads: payload read, handler run",
    "settler": "settler: completed in the ledger, counted",
    "pulse": "pulse: heartbeat, histograms",
    "others": "the other threads and processes of the worker",
    "broker": "RabbitMQ",
    "database": "Postgres",
}

LINES: tuple[Line, ...] = (
    *(Figure(f"µs of CPU per job: {label}", part) for part, label in PARTS.items()),
    Figure("µs of CPU per job: all together", "all"),
    Figure("µs that a job takes, one after another", "elapsed"),
)


def measure(servers: Servers, scale: float) -> Sample:
    """One round."""
    load, contender = Load("noop", round(JOBS * scale)), Penstock()
    with fresh_site(servers) as site:
        contender.fill(site, load)
        with running(site, contender.command(processes=1)) as worker:
            began = wait_for(site, site.progress, worker)
            before, all_before = by_thread(site), site.cpu(worker)
            wait_for(site, lambda: it if (it := site.progress()) and it.jobs >= load.jobs else None, worker)
            finished = wait_for(site, lambda: contender.finished(site, load), worker)
            after, spent = by_thread(site), site.cpu(worker).since(all_before)
    found = {part: after[part] - before[part] for part in after}
    found |= {"others": spent.worker - sum(found.values()), "broker": spent.broker, "database": spent.database}
    found |= {"all": sum(spent), "elapsed": finished - began.first}
    return {part: 1e6 * seconds / load.jobs for part, seconds in found.items()}


def by_thread(site: Site) -> dict[str, float]:
    """CPU seconds by now of the threads that have a part of their own; those that run jobs together."""
    found = dict.fromkeys(("deliveries", "intake", "worker", "settler", "pulse"), 0.0)
    for pid, threads in read_threads(site.folder).items():
        for thread, name in threads.items():
            part = name.partition("-")[0]
            if part in found:
                found[part] += thread_seconds(pid, thread)
    return found


MEASUREMENT = Measurement(__doc__, measure, LINES)

if __name__ == "__main__":
    main(MEASUREMENT)
