"""Hundreds of jobs with a payload of a megabyte each: they run, and no process takes more memory than a few batches."""

import re
from collections import Counter
from pathlib import Path

import pytest
from tests.faults.large_jobs import Large
from tests.waiting import until
from tests.workers.pool import RunningPool
from tests.workers.site import Site

from penstock.producers import Producer
from penstock.producers.ledger_producer import LedgerProducer

JOBS = 200
PARENTS, CHILDREN = 5, 12
MEMORY_MEBIBYTES_MAX = 350


def peak_mebibytes(pool: RunningPool) -> dict[str, float]:
    """The most memory that each kind of process has ever had."""
    found: dict[str, float] = {}
    for pid, kind in pool.children().items():
        status = Path(f"/proc/{pid}/status").read_text()
        [kibibytes] = re.findall(r"VmHWM:\s+(\d+) kB", status)
        found[kind] = max(found.get(kind, 0.0), int(kibibytes) / 1024)
    return found


@pytest.mark.faults
@pytest.mark.parametrize("transport", ["full", "small"])
def test_large_payloads_take_bounded_memory(site: Site, transport: str) -> None:
    """From the ledger through the dispatcher, straight from RabbitMQ, and as follow-ups; results too."""
    broker_url = site.broker_url if transport == "full" else "local"
    with site.pool(modules=["tests.faults.large_jobs"], threads=8, broker_url=broker_url) as pool:
        with LedgerProducer(site.database_url) as producer:
            producer.publish_many(Large(n=n) for n in range(JOBS))
            producer.publish_many(Large(n=n, children=CHILDREN) for n in range(JOBS, JOBS + PARENTS))
        wanted = JOBS + PARENTS + PARENTS * CHILDREN
        if transport == "full":
            with Producer(broker_url) as direct:
                direct.publish_many(Large(n=-n) for n in range(1, JOBS + 1))
            wanted += JOBS
        until(lambda: len(site.sink.events("ran")) >= wanted, timeout_seconds=120, what="all to run")
        assert set(Counter(event["n"] for event in site.sink.events("ran")).values()) == {1}
        peaks = peak_mebibytes(pool)
        assert max(peaks.values()) < MEMORY_MEBIBYTES_MAX, peaks
        assert pool.stop() == 0
    assert site.states() == {"completed": wanted}
