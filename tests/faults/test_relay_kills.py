"""Relays are killed while they publish."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from tests.faults.jobs import Transfer
from tests.faults.readiness import consuming
from tests.waiting import until
from tests.workers.site import Site

from penstock.producers.outbox import DDL, enqueue, enqueue_many
from penstock.producers.outbox.address import open_store

JOBS = 4000
KILLS = 6
RELAYS = 2
# Between the SELECT and the COMMIT of a relay lie the publishes and their confirms.
PUBLISHING = text(
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'penstock-relay' AND state = 'idle in transaction'"
    " AND datname = current_database()"
)


@pytest.mark.faults
def test_4000_enqueued_jobs_have_each_effect_once_while_relays_are_killed(site: Site, tmp_path: Path) -> None:
    """No job lost, none done twice; what has been rolled back does not run."""
    added = _enqueue_all(site)
    with (
        site.pool(modules=["tests.faults.jobs"], processes=1, threads=8) as pool,
        ExitStack() as stack,
        closing(open_store(site.database_url)) as store,
    ):
        consuming(pool)
        kills = 0
        while kills < KILLS and store.lag().waiting:
            relays = [stack.enter_context(_relay(site, tmp_path)) for _ in range(RELAYS)]
            until(
                lambda: site.session.connection.execute(PUBLISHING).scalar(),
                timeout_seconds=30,
                what="a relay that publishes",
            )
            for relay in relays:
                relay.kill()
            kills += 1
        assert kills == KILLS
        relay = stack.enter_context(_relay(site, tmp_path))
        until(lambda: store.lag()[:2] == (0, 0), timeout_seconds=60, what="an empty outbox")
        until(
            lambda: site.states().get("completed", 0) >= JOBS,
            timeout_seconds=60,
            what="all jobs to be completed",
        )
        relay.send_signal(signal.SIGTERM)
        assert relay.wait(timeout=20) == 0
        assert pool.stop() == 0

    assert site.states() == {"completed": JOBS}
    assert Counter(site.effects()) == Counter(added)


def _enqueue_all(site: Site) -> list[str]:
    """In the ledger's own database, which may well be the service's, with one job in a hundred rolled back."""
    engine = create_engine(site.database_url)
    added: list[str] = []
    with engine.begin() as connection:
        connection.exec_driver_sql(DDL["postgresql"])
    for start in range(0, JOBS, 100):
        with engine.connect() as connection:
            enqueue(connection, Transfer(n=-1))
            connection.rollback()
            added += enqueue_many(connection, (Transfer(n=n) for n in range(start, start + 100)))
            connection.commit()
    engine.dispose()
    return added


@contextmanager
def _relay(site: Site, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """One relay, dead at the end however the test went."""
    command = ["relay", "--database-url", site.database_url, "--broker-url", site.broker_url, "--batch", "200"]
    with (folder / "relay.log").open("ab") as log:
        relay = subprocess.Popen(
            [sys.executable, "-m", "penstock.console", *command],
            cwd=folder,
            stdout=log,
            stderr=log,
            env={**os.environ, "PENSTOCK_LOG_LEVEL": "WARNING"},
        )
    with relay:
        try:
            yield relay
        finally:
            relay.kill()
