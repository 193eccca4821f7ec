"""Floods, bombs, long jobs and large replays: F17, F21, F25, F26, F31, F32."""

import threading
from collections import Counter
from collections.abc import Iterator

import pika
import pytest
from sqlalchemy import text
from tests.faults.jobs import Exiting, Transfer
from tests.faults.readiness import consuming
from tests.servers.rabbitmq import PrivateRabbitMQ
from tests.waiting import until
from tests.workers.pool import is_alive
from tests.workers.site import Site

from penstock.ledger.admission import Offer, admit
from penstock.ledger.audit import list_audit
from penstock.ledger.dead_letters import Selection, replay_dead
from penstock.ledger.quarantine import list_quarantine
from penstock.ledger.state import Reason, State
from penstock.producers import Producer
from penstock.schemas import Message
from penstock.schemas.identifiers import new_job_id
from penstock.schemas.message import BODY_BYTES_MAX, EXCHANGE

pytestmark = pytest.mark.faults

MODULES = ["tests.faults.jobs"]
SECRET = "4111111111111111"


def test_one_key_a_thousand_times_from_fifty_clients_is_one_effect(site: Site) -> None:
    """Each client has a connection and an id of its own for each publish."""
    receipts: list[str] = []

    def publish() -> None:
        with Producer(site.broker_url) as producer:
            receipts.extend(producer.publish(Transfer(n=1), key="the one").job_id for _ in range(20))

    with site.pool(modules=MODULES, processes=2, threads=4) as pool:
        consuming(pool)
        clients = [threading.Thread(target=publish) for _ in range(50)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        known = text("SELECT (SELECT count(*) FROM jobs) + (SELECT count(*) FROM aliases)")
        until(
            lambda: site.session.connection.execute(known).scalar() == 1000, timeout_seconds=60, what="all to be known"
        )
        until(lambda: site.states() == {"completed": 1}, timeout_seconds=30, what="the end")
        assert pool.stop() == 0
    assert len(set(receipts)) == 1000
    assert site.effects() == ["the one"]


def bombs() -> Iterator[tuple[bytes, str]]:
    """Bodies that would cost a careless reader its memory or its stack, and what is said of them."""
    yield b'{"n": 1, "gate": "' + SECRET.encode() + b"x" * (64 << 20) + b'"}', "bytes"
    yield b'{"n": ' + b"[" * 100_000 + SECRET.encode() + b"]" * 100_000 + b"}", "deep"


def test_bombs_are_quarantined_in_bounded_space_and_the_queue_moves_on(site: Site) -> None:
    """Only their beginning is kept: what is too large to be run is too large to be kept."""
    with site.pool(modules=MODULES, threads=2) as pool:
        consuming(pool)
        [worker] = pool.workers()
        with pika.BlockingConnection(pika.URLParameters(site.broker_url)) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            for body, _ in bombs():
                properties = pika.BasicProperties(message_id=new_job_id(), type="faults.transfer", delivery_mode=2)
                channel.basic_publish(EXCHANGE, "faults.transfer", body, properties, mandatory=True)
        good = site.publish(Transfer(n=1)).job_id
        until(lambda: len(list_quarantine(site.session)) == 2, timeout_seconds=60, what="the quarantine")
        assert site.await_end(good)["state"] == "completed"
        assert is_alive(worker)
        assert SECRET not in pool.log_text()
        assert pool.stop() == 0
    kept = list_quarantine(site.session)
    assert all(said in row["reason"] for row, (_, said) in zip(reversed(kept), bombs(), strict=True))
    assert max(row["bytes"] for row in kept) <= BODY_BYTES_MAX


@pytest.mark.parametrize(("how", "crashes"), [("exit", 1), ("out of memory", 2)])
def test_a_job_that_ends_its_process_is_convicted_alone_and_its_neighbours_run_once(
    site_without_broker: Site, how: str, crashes: int
) -> None:
    """By an exit of its own at once; by a SIGKILL, which may have been anybody's, at the second time."""
    site = site_without_broker
    with site.pool(modules=MODULES, processes=2, threads=4) as pool:
        consuming(pool)
        good = [site.publish(Transfer(n=n, work_seconds=0.01)).job_id for n in range(20)]
        bad = site.publish(Exiting(how=how)).job_id
        good += [site.publish(Transfer(n=n, work_seconds=0.01)).job_id for n in range(20)]
        row = site.await_end(bad, timeout_seconds=30)
        until(lambda: site.states() == {"completed": 40, "dead": 1}, timeout_seconds=30, what="the neighbours")
        assert pool.stop() == 0
    assert (row["state"], row["reason"], row["crashes"]) == ("dead", "crash", crashes)
    assert Counter(site.effects()) == Counter(good)


def test_a_job_longer_than_the_consumer_timeout_of_rabbitmq_runs_once(
    site_on_private_rabbitmq: Site, private_rabbitmq: PrivateRabbitMQ
) -> None:
    """Its delivery was acked when it was claimed, so that there is nothing that RabbitMQ could miss."""
    site = site_on_private_rabbitmq
    set_timeout = (
        "application:set_env(rabbit, consumer_timeout, {}), application:set_env(rabbit, channel_tick_interval, {})."
    )
    private_rabbitmq.ctl("eval", set_timeout.format(2500, 500))
    try:
        with site.pool(modules=MODULES, threads=2) as pool:
            consuming(pool)
            job_id = site.publish(Transfer(n=1, work_seconds=6.0)).job_id
            assert site.await_end(job_id, timeout_seconds=30)["attempts"] == 1
            assert pool.logged("connection to RabbitMQ lost") == []
            assert pool.logged("starting over with RabbitMQ") == []
            assert pool.stop() == 0
    finally:
        private_rabbitmq.ctl("eval", set_timeout.format(1_800_000, 60_000))
    assert site.effects() == [job_id]


def test_a_large_replay_is_paced_and_done_once_though_two_people_click(site: Site) -> None:
    """Jobs that come meanwhile do not wait behind it; the audit has both people."""
    letters = [Offer(Message.of(Transfer(n=n)), "faults", State.DEAD, Reason.ATTEMPTS) for n in range(1000)]
    for start in range(0, len(letters), 500):
        admit(site.session, letters[start : start + 500])
    with site.pool(modules=MODULES, threads=4) as pool:
        consuming(pool)
        replayed: list[str] = []

        def click(person: str) -> None:
            with site.ledger.session() as session:
                replayed.extend(replay_dead(session, selection=Selection(), actor=person, per_second=100.0))

        people = [threading.Thread(target=click, args=[person]) for person in ("ada", "grace")]
        for person in people:
            person.start()
        for person in people:
            person.join()
        fresh = [receipt.job_id for receipt in site.producer.publish_many(Transfer(n=n) for n in range(50))]
        until(lambda: set(fresh) <= set(site.effects()), what="the jobs that came meanwhile")
        assert len(site.effects()) < len(letters)
        until(lambda: site.states() == {"completed": 1050}, timeout_seconds=120, what="the end of the replay")
        assert pool.stop() == 0
    assert Counter(replayed) == Counter(letter.message.id for letter in letters)
    assert Counter(site.effects()) == Counter([*fresh, *replayed])
    told = [entry for entry in list_audit(site.session) if entry["action"] == "replay"]
    assert sum(len(entry["target"].split(", ")) for entry in told) == len(letters)
