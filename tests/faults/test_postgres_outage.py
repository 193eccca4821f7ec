"""Postgres is stopped at once, under load, and comes back."""

from collections import Counter

import pytest
from sqlalchemy import text
from tests.faults.jobs import Transfer
from tests.faults.readiness import consuming
from tests.servers.postgres import PrivatePostgres
from tests.waiting import until
from tests.workers.site import Site

from penstock.ledger.jobs import count_states

JOBS = 1500


@pytest.mark.faults
def test_an_outage_of_postgres_loses_nothing_and_uses_up_no_attempt(
    site_on_private_postgres: Site, private_postgres: PrivatePostgres
) -> None:
    """Workers hold nothing meanwhile; what ran is run again or found committed."""
    site = site_on_private_postgres
    with site.pool(modules=["tests.faults.jobs"], processes=2, threads=4) as pool:
        consuming(pool)
        producer = site.producer
        receipts = [it.job_id for it in producer.publish_many(Transfer(n=n, work_seconds=0.005) for n in range(JOBS))]
        until(lambda: len(site.effects()) > JOBS // 10, timeout_seconds=30, what="some work to be done")
        private_postgres.stop_immediately()
        until(
            lambda: pool.logged("nothing is claimed until the ledger answers"),
            timeout_seconds=30,
            what="the workers to notice",
        )
        until(lambda: pool.get("/healthz")[0] == 503, timeout_seconds=30, what="a health check that tells the truth")
        private_postgres.start()

        def completed() -> int:
            with site.ledger.session() as session:
                return count_states(session).get("completed", 0)

        until(lambda: completed() >= JOBS, timeout_seconds=90, what="all jobs to be completed")
        until(lambda: pool.get("/readyz")[0] == 200, timeout_seconds=30, what="readiness")
        assert pool.stop() == 0

    with site.ledger.session() as session:
        effects = session.connection.execute(text("SELECT name FROM effects_of_tests")).scalars()
        assert Counter(map(str, effects)) == Counter(receipts)
        used = session.connection.execute(text("SELECT attempts, count(*) FROM jobs GROUP BY attempts")).all()
        assert [tuple(row) for row in used] == [(1, JOBS)]
