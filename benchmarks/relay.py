"""How fast one relay empties an outbox: jobs of 200 bytes, Postgres and RabbitMQ, by batch size; and what an old
transaction costs, which keeps every deleted row in the relay's way.

`python -m benchmarks.relay`; `--rows` and `--rounds` change the size.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from typing import TYPE_CHECKING

import psycopg
import structlog
from benchmarks.servers import servers

from penstock.producers.outbox import DDL, enqueue_many
from penstock.producers.outbox.address import open_store
from penstock.producers.outbox.metrics import RelayMetrics
from penstock.producers.outbox.relay import Relay
from penstock.schemas import Job
from penstock.workers.topology import declare

if TYPE_CHECKING:
    from benchmarks.servers import Servers

BATCHES = (100, 500)
PADDING = "x" * 170


class Noop(Job, type="benchmark.noop", queue="benchmark"):
    """About 200 bytes with its padding."""

    n: int
    padding: str


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rows", type=int, default=40_000)
    arguments.add_argument("--rounds", type=int, default=3)
    options = arguments.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("warning"))
    rates: dict[str, list[float]] = {}
    with servers() as where:
        for _ in range(options.rounds):
            for batch_rows in BATCHES:
                for is_held in (False, True):
                    name = f"batches of {batch_rows}{', an old transaction open' if is_held else ''}"
                    rate = empty_an_outbox(where, rows=options.rows, batch_rows=batch_rows, is_held=is_held)
                    rates.setdefault(name, []).append(rate)
    print(f"{'rows per second':44} {'median':>8} {'min':>8} {'max':>8}")
    for name, found in rates.items():
        print(f"{name:44} {statistics.median(found):8,.0f} {min(found):8,.0f} {max(found):8,.0f}")


def empty_an_outbox(where: Servers, *, rows: int, batch_rows: int, is_held: bool) -> float:
    """Rows per second, from the start of the relay to the last row deleted."""
    broker, url = where.broker(), where.databases.create()
    declare(broker, {"benchmark": {"benchmark.noop"}}, name="benchmark")
    address = url.replace("+psycopg", "")
    with psycopg.connect(address) as service, psycopg.connect(address) as old:
        service.execute(DDL["postgresql"].encode())
        enqueue_many(service, (Noop(n=n, padding=PADDING) for n in range(rows)))
        service.commit()
        if is_held:
            old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            old.execute("SELECT 1 FROM penstock_outbox LIMIT 1")
        metrics = RelayMetrics()
        relay = Relay(
            open_store=lambda: open_store(url),
            broker_url=broker,
            metrics=metrics,
            log=structlog.get_logger(),
            batch_rows=batch_rows,
        )
        thread = threading.Thread(target=relay.run)
        started = time.monotonic()
        thread.start()
        while (metrics.registry.get_sample_value("penstock_outbox_published_total") or 0) < rows:
            time.sleep(0.01)
        seconds = time.monotonic() - started
        relay.request_stop()
        thread.join()
    where.databases.drop(url)
    return rows / seconds


if __name__ == "__main__":
    main()
