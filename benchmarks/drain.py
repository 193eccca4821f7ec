"""How fast a queue is drained: no-op jobs of 200 bytes, one worker process with 8 threads, Penstock beside plain
Dramatiq on the same RabbitMQ, round by round.

Penstock's clock stops when the last job is completed in the ledger (a full row each, payload included, deduplicated
by id), Dramatiq's when the last handler runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from benchmarks.contenders import Dramatiq, Penstock
from benchmarks.load import Load
from benchmarks.processes import Cpu, cpu_names, peak_megabytes, private_megabytes
from benchmarks.rounds import Figure, Line, Measurement, Ratio, Sample, main
from benchmarks.site import fresh_site, running, wait_for

if TYPE_CHECKING:
    from benchmarks.contenders import Contender
    from benchmarks.servers import Servers
    from benchmarks.site import Site

# Enough for about two seconds each.
PENSTOCK_JOBS = 40_000
DRAMATIQ_JOBS = 10_000

OURS = "penstock"
KEYED = "penstock, keyed"
THEIRS = "dramatiq"


def costs(*names: str) -> tuple[Figure, ...]:
    """Lines about the CPU that the runs of these names took."""
    return tuple(
        Figure(f"CPU seconds per 10,000 jobs, {label.removesuffix(' s')}", label)
        for name in names
        for label in cpu_names(name)
    )


LINES: tuple[Line, ...] = (
    Ratio("drain, jobs per second", OURS, THEIRS, at_least=5),
    Ratio("drain, each with a dedup key", KEYED, THEIRS),
    *costs(OURS, KEYED, THEIRS),
    Ratio("peak memory of a worker process, MB", f"{OURS}: peak MB", f"{THEIRS}: peak MB", at_most=1.3),
    Ratio("of that its own, not shared with its parent, MB", f"{OURS}: private MB", f"{THEIRS}: private MB"),
)


class Run(NamedTuple):
    """One contender, one load."""

    jobs: int
    seconds: float
    cpu: Cpu
    peak_megabytes: float
    private_megabytes: float

    @property
    def rate(self) -> float:
        """Jobs per second."""
        return self.jobs / self.seconds

    def sample(self, name: str) -> Sample:
        return {
            name: self.rate,
            **self.cpu.sample(name, self.jobs),
            f"{name}: peak MB": self.peak_megabytes,
            f"{name}: private MB": self.private_megabytes,
        }


def measure(servers: Servers, scale: float) -> Sample:
    """One round."""
    ours, theirs = round(PENSTOCK_JOBS * scale), round(DRAMATIQ_JOBS * scale)
    return {
        **drain(servers, Dramatiq(), Load("noop", theirs)).sample(THEIRS),
        **drain(servers, Penstock(), Load("noop", ours)).sample(OURS),
        **drain(servers, Penstock(), Load("noop", ours, keyed=True)).sample(KEYED),
    }


def drain(servers: Servers, contender: Contender, load: Load, *, processes: int = 1) -> Run:
    """Fill the queue, start a worker, take the time from the first job to the end of the last."""
    with fresh_site(servers) as site:
        contender.fill(site, load)
        return run_all(site, contender, load, processes=processes)


def run_all(site: Site, contender: Contender, load: Load, *, processes: int = 1) -> Run:
    """Run what waits in the site's queue."""
    with running(site, contender.command(processes=processes)) as worker:
        wait_for(site, site.progress, worker)
        before = site.cpu(worker)
        wait_for(site, lambda: it if (it := site.progress()) and it.jobs >= load.jobs else None, worker)
        finished = wait_for(site, lambda: contender.finished(site, load), worker)
        spent = site.cpu(worker).since(before)
        progress = wait_for(site, site.progress, worker)
        peak = max(peak_megabytes(pid) for pid in progress.pids)
        private = max(private_megabytes(pid) for pid in progress.pids)
    return Run(load.jobs, finished - progress.first, spent, peak, private)


def rate_of_first(site: Site, contender: Contender, jobs: int, *, processes: int = 1) -> float:
    """Jobs started per second until so many have been, while more are waiting."""
    with running(site, contender.command(processes=processes)) as worker:
        progress = wait_for(site, lambda: it if (it := site.progress()) and it.jobs >= jobs else None, worker)
    return progress.jobs / progress.seconds


MEASUREMENT = Measurement(__doc__, measure, LINES)

if __name__ == "__main__":
    main(MEASUREMENT)
