"""How fast a hundred job types in fifty queues are drained by one worker, beside one type in one queue."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from benchmarks.contenders import Penstock
from benchmarks.drain import drain
from benchmarks.growth import wide_jobs
from benchmarks.load import Load
from benchmarks.rounds import Line, Measurement, Ratio, Sample, main

from penstock.producers import Producer
from penstock.workers.topology import declare

if TYPE_CHECKING:
    from benchmarks.servers import Servers
    from benchmarks.site import Site

    from penstock.schemas import Job

JOBS = 40_000

LINES: tuple[Line, ...] = (Ratio("drain: 100 types in 50 queues : one", "wide", "narrow", at_least=0.8),)


class Wide(Penstock):
    """The same worker with more to know."""

    def fill(self, site: Site, load: Load) -> None:
        bindings: dict[str, set[str]] = {}
        for job in wide_jobs.JOBS:
            bindings.setdefault(job.contract().queue, set()).add(job.contract().type)
        declare(site.broker, bindings, name="benchmark")
        bodies = ({"n": n, "padding": load.padding} for n in range(load.jobs))
        with Producer(site.broker) as producer:
            producer.publish_many(map(_job, itertools.cycle(wide_jobs.JOBS), bodies))

    def command(self, *, processes: int) -> list[str]:
        return [word.replace("penstock_jobs", "growth.wide_jobs") for word in super().command(processes=processes)]


def _job(kind: type[Job], body: dict[str, Any]) -> Job:
    return kind.model_validate(body)


def measure(servers: Servers, scale: float) -> Sample:
    """One round."""
    load = Load("noop", round(JOBS * scale))
    return {"narrow": drain(servers, Penstock(), load).rate, "wide": drain(servers, Wide(), load).rate}


MEASUREMENT = Measurement(__doc__, measure, LINES)

if __name__ == "__main__":
    main(MEASUREMENT)
