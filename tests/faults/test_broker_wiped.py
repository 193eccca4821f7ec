"""RabbitMQ loses everything while jobs are in every state."""

from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import text
from tests.faults.jobs import Transfer
from tests.faults.readiness import consuming
from tests.servers.rabbitmq import PrivateRabbitMQ
from tests.waiting import until
from tests.workers.site import Site

from penstock.producers import Publish
from penstock.producers.ledger_producer import LedgerProducer


@pytest.mark.faults
def test_every_job_with_a_ledger_row_is_done_once_though_the_broker_is_wiped(
    site_on_private_rabbitmq: Site, private_rabbitmq: PrivateRabbitMQ
) -> None:
    """Only what was published straight to the broker and not claimed yet can be lost with it, and is counted apart."""
    site = site_on_private_rabbitmq
    soon = timedelta(seconds=4)
    with LedgerProducer(site.database_url) as ledger, site.pool(modules=["tests.faults.jobs"], threads=2) as pool:
        consuming(pool)
        done = [site.publish(Transfer(n=n)).job_id for n in range(20)]
        retried = [site.publish(Transfer(n=n, fails_first=True)).job_id for n in range(10)]
        scheduled = [site.publish(Transfer(n=n), delay=soon).job_id for n in range(10)]
        until(lambda: site.states().get("completed", 0) >= 20, timeout_seconds=30, what="the first jobs")
        blocked = [site.publish(Transfer(n=n, gate="wiped")).job_id for n in range(2)]
        site.sink.await_events("waiting", count=2)
        accepted = [it.job_id for it in ledger.publish_many(Publish(Transfer(n=n)) for n in range(100))]
        dispatched = text("SELECT count(*) FROM jobs WHERE dispatched_at IS NOT NULL AND state = 'available'")
        until(
            lambda: (site.session.connection.execute(dispatched).scalar() or 0) >= 50,
            timeout_seconds=30,
            what="rows on their way through the broker",
        )
        direct = [site.publish(Transfer(n=n)).job_id for n in range(30)]
        at_wipe = _known(site)

        private_rabbitmq.wipe()
        site.sink.open_gate("wiped")
        until(
            lambda: site.states().get("completed", 0) >= len(at_wipe) and set(site.states()) == {"completed"},
            timeout_seconds=90,
            what="all jobs of the ledger to be completed",
        )
        assert pool.stop() == 0

    promised = {*done, *retried, *scheduled, *blocked, *accepted}
    effects = Counter(site.effects())
    assert set(effects.values()) == {1}
    assert promised <= set(effects)
    only_in_the_broker = set(direct) - at_wipe
    print(f"{len(effects)} done once; {len(only_in_the_broker)} were only in the broker, {len(direct)} published to it")
    assert set(effects) - promised <= set(direct)


def _known(site: Site) -> set[str]:
    query = text("SELECT CAST(id AS text) FROM jobs")
    return {str(job_id) for job_id in site.session.connection.execute(query).scalars()}
