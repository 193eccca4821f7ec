"""Bodies that nobody can read."""

import random
from collections import Counter

import pika
import pytest
from tests.faults.jobs import Transfer
from tests.faults.readiness import consuming
from tests.waiting import until
from tests.workers.site import Site

from penstock.ledger.quarantine import count_quarantine
from penstock.schemas.identifiers import new_job_id
from penstock.schemas.message import EXCHANGE

BODIES = 10_000


@pytest.mark.faults
def test_10000_random_bodies_are_quarantined_and_the_good_jobs_between_them_run(site: Site) -> None:
    """The queue never stands still, and nothing of the rubbish is run."""
    draw = random.Random(20261123)
    good = []
    with site.pool(modules=["tests.faults.jobs"], processes=1, threads=4) as pool:
        consuming(pool)
        connection = pika.BlockingConnection(pika.URLParameters(site.broker_url))
        channel = connection.channel()
        for number in range(BODIES):
            properties = pika.BasicProperties(
                message_id=draw.choice([new_job_id(), None, "not an id", "\0"]),
                type=draw.choice(["faults.transfer", "faults.transfer", None, "no/name"]),
                content_type="application/json",
                delivery_mode=2,
            )
            channel.basic_publish(EXCHANGE, "faults.transfer", _random_body(draw), properties)
            if number % 200 == 0:
                good.append(site.publish(Transfer(n=number)).job_id)
        connection.close()
        until(lambda: len(site.effects()) == len(good), timeout_seconds=60, what="the good jobs")
        until(lambda: count_quarantine(site.session) >= BODIES, timeout_seconds=60, what="the quarantine")
        assert pool.stop() == 0
    assert count_quarantine(site.session) == BODIES
    assert Counter(site.effects()) == Counter(good)
    assert site.states() == {"completed": len(good)}


def _random_body(draw: random.Random) -> bytes:
    """Random bytes, or JSON that was cut off; never a JSON object."""
    if draw.random() < 0.5:
        return draw.randbytes(draw.randrange(0, 300))
    whole = b'{"n": 1, "work_seconds": 0.5, "gate": "' + draw.randbytes(20).hex().encode() + b'"}'
    return whole[: draw.randrange(0, len(whole) - 1)]
