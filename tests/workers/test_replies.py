"""A publisher that gives a `reply_to` hears what becomes of its job; a duplicate hears of the first one."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
from jsonschema import Draft202012Validator
from pika.adapters.blocking_connection import BlockingChannel
from sqlalchemy import func, insert, select
from tests.ledger.samples import put as put_row
from tests.servers.proxy import Proxy
from tests.waiting import until
from tests.workers.amqp import channel_on, put
from tests.workers.jobs import Gated, Note
from tests.workers.site import Site
from tests.workers.test_metrics import scraped

from penstock.ledger.clock import now
from penstock.ledger.database import Session
from penstock.ledger.quarantine import list_quarantine
from penstock.ledger.replies import owed_replies, replies_lag
from penstock.ledger.tables import replies
from penstock.producers import Producer
from penstock.producers.client import pauses
from penstock.schemas.asyncapi import asyncapi_document
from penstock.workers import replier as module
from penstock.workers.caretaker_metrics import CaretakerMetrics
from penstock.workers.metric_files import MetricFiles
from penstock.workers.replier import Replier

DIRECT = "amq.rabbitmq.reply-to"


@dataclass
class Asker:
    """A publisher with a queue for replies, and what has come there."""

    channel: BlockingChannel
    queue: str
    heard: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    def ask(self, body: bytes, **properties: Any) -> str:
        """Publish a job; returns its id."""
        return put(self.channel, "test.note", body, reply_to=self.queue, **properties)

    def hear(self, count: int) -> list[tuple[str, str, dict[str, Any]]]:
        """(kind, correlation id, what was said) of so many replies, in order."""

        def heard() -> bool:
            self.channel.connection.process_data_events(0)
            return len(self.heard) >= count

        until(heard, what=f"{count} replies")
        found, self.heard = self.heard[:count], self.heard[count:]
        return found

    def listen(self, *, auto_ack: bool) -> None:
        """Keep what comes."""

        def keep(_: Any, __: Any, properties: Any, body: bytes) -> None:
            self.heard.append((properties.type, properties.correlation_id, json.loads(body)))

        self.channel.basic_consume(self.queue, keep, auto_ack=auto_ack)


@pytest.fixture
def channel(full_site: Site) -> Iterator[BlockingChannel]:
    """A channel beside a running pool."""
    with channel_on(full_site.broker_url) as channel:
        yield channel


@pytest.fixture
def asker(channel: BlockingChannel) -> Asker:
    """A publisher with a queue that RabbitMQ has named."""
    asker = Asker(channel, str(channel.queue_declare("", exclusive=True).method.queue))
    asker.listen(auto_ack=True)
    return asker


def owed(site: Site) -> int:
    """How many replies are owed."""
    return int(site.session.connection.execute(select(func.count()).select_from(replies)).scalar_one())


def test_the_receipt_and_the_result_come_to_the_reply_queue(full_site: Site, asker: Asker) -> None:
    """With the caller's correlation id; afterwards nothing is owed."""
    job_id = asker.ask(b'{"name": "1"}', correlation_id="c-1")
    (first, second) = asker.hear(2)
    assert first[:2] == ("penstock.receipt", "c-1")
    assert (first[2]["job_id"], first[2]["duplicate"], first[2]["durability"]) == (job_id, False, "ledger")
    assert second[:2] == ("penstock.result", "c-1")
    assert (second[2]["state"], second[2]["attempts"]) == ("completed", 1)
    until(lambda: owed(full_site) == 0, what="nothing to be owed")
    sent = partial(full_site.running.metric, "penstock_replies_sent_total")
    until(lambda: sent(kind="receipt") >= 1 and sent(kind="result") >= 1, what="both to be counted")


def test_direct_reply_to_works_without_any_queue(channel: BlockingChannel) -> None:
    """RabbitMQ's own shortcut, on the publisher's channel."""
    asker = Asker(channel, DIRECT)
    asker.listen(auto_ack=True)
    job_id = asker.ask(b'{"name": "2"}')
    assert [(kind, correlation, said["job_id"]) for kind, correlation, said in asker.hear(2)] == [
        ("penstock.receipt", job_id, job_id),
        ("penstock.result", job_id, job_id),
    ]


def test_a_duplicate_hears_of_the_first_job(full_site: Site, asker: Asker) -> None:
    """Under its own correlation id, whether the first one still runs or has ended long ago."""
    first = asker.ask(b'{"name": "3"}', headers={"dedup-key": "three"})
    asker.hear(2)
    second = asker.ask(b'{"name": "3"}', headers={"dedup-key": "three"})
    for kind, correlation, said in asker.hear(2):
        assert (kind in ("penstock.receipt", "penstock.result"), correlation) == (True, second)
        assert (said["job_id"], said["asked_id"], said["duplicate"]) == (first, second, True)
        assert said["state"] == "completed"
    assert len(full_site.job(first)["history"]) == 0


def test_a_producer_in_python_asks_and_its_duplicate_is_answered_too(full_site: Site, asker: Asker) -> None:
    """The receipt of the job that runs, and its result, also when that was told to somebody else before."""
    with Producer(full_site.broker_url) as producer:
        first = producer.publish(Note(name="p"), key="p", reply_to=asker.queue, correlation_id="first")
        told = asker.hear(2)
        again = producer.publish(Note(name="p"), key="p", reply_to=asker.queue, correlation_id="again")
        told += asker.hear(2)
    assert first.job_id != again.job_id
    assert [(kind, correlation, said["job_id"], said["duplicate"]) for kind, correlation, said in told] == [
        ("penstock.receipt", "first", first.job_id, False),
        ("penstock.result", "first", first.job_id, False),
        ("penstock.receipt", "again", first.job_id, True),
        ("penstock.result", "again", first.job_id, True),
    ]
    schemas = asyncapi_document([Note])["components"]["schemas"]
    for kind, _, said in told:
        Draft202012Validator(schemas[kind]).validate(said)


def test_a_duplicate_of_a_job_that_still_runs_hears_so_and_later_of_its_result(full_site: Site, asker: Asker) -> None:
    """Though whoever published the first one did not want to know."""
    with Producer(full_site.broker_url) as producer:
        first = producer.publish(Gated(name="asked"), key="asked")
        full_site.await_state(first.job_id, "executing")
        producer.publish(Gated(name="asked"), key="asked", reply_to=asker.queue, correlation_id="late")
        [(kind, correlation, said)] = asker.hear(1)
        assert (kind, correlation) == ("penstock.receipt", "late")
        assert (said["job_id"], said["state"], said["duplicate"]) == (first.job_id, "executing", True)
        full_site.sink.open_gate("asked")
        [(kind, correlation, said)] = asker.hear(1)
    assert (kind, correlation) == ("penstock.result", "late")
    assert (said["job_id"], said["state"], said["attempts"]) == (first.job_id, "completed", 1)


def test_an_address_that_nobody_has_given_out_holds_up_no_other_reply(
    full_site: Site, channel: BlockingChannel, asker: Asker
) -> None:
    """Forged for direct reply-to, of a queue that never was: whoever comes after is answered."""
    for address in (f"{DIRECT}.forged", "amq.gen-never", "penstock.replies.never"):
        put(channel, "test.note", b'{"name": "9"}', reply_to=address)
    asked = asker.ask(b'{"name": "10"}')
    assert [said["job_id"] for _, _, said in asker.hear(2)] == [asked, asked]
    until(lambda: owed(full_site) == 0, what="nothing to be owed")


def test_the_same_message_again_is_answered_again(asker: Asker) -> None:
    """Whoever lost the answer asks once more under the same id."""
    job_id = asker.ask(b'{"name": "4"}')
    asker.hear(2)
    asker.ask(b'{"name": "4"}', job_id=job_id)
    assert [said["job_id"] for _, _, said in asker.hear(2)] == [job_id, job_id]


def test_another_payload_under_the_key_hears_of_the_conflict(asker: Asker) -> None:
    """It is dead, and will not run."""
    asker.ask(b'{"name": "5"}', headers={"dedup-key": "five"})
    asker.hear(2)
    asker.ask(b'{"name": "55"}', headers={"dedup-key": "five"})
    assert {(said["state"], said["reason"]) for _, _, said in asker.hear(2)} == {("dead", "key_conflict")}


def test_who_has_gone_is_forgotten(full_site: Site, channel: BlockingChannel) -> None:
    """And a job without an address never was noted."""
    put(channel, "test.note", b'{"name": "6"}')
    asked = put(channel, "test.note", b'{"name": "7"}', reply_to="penstock.replies.nobody")
    full_site.await_end(asked)
    until(lambda: owed(full_site) == 0, what="nothing to be owed")
    until(lambda: full_site.running.metric("penstock_replies_unheard_total") >= 1, what="it to be counted")


@pytest.mark.parametrize("address", [f"{DIRECT}.garbage", f"{DIRECT}.{'x' * 200}", "amq.gen-nothing"])
def test_an_address_that_somebody_has_made_up_holds_up_no_other(
    full_site: Site, channel: BlockingChannel, asker: Asker, address: str
) -> None:
    """RabbitMQ 3.10 closes the connection at such a one."""
    put(channel, "test.note", b'{"name": "9"}', reply_to=address)
    asker.ask(b'{"name": "10"}')
    asker.hear(2)
    until(lambda: owed(full_site) == 0, what="nothing to be owed")


def test_nobody_makes_us_publish_into_a_queue_of_jobs(full_site: Site, channel: BlockingChannel) -> None:
    """An address that is no queue for replies breaks the wire format."""
    job_id = put(channel, "test.note", b'{"name": "8"}', reply_to="test")

    def reasons() -> list[str]:
        return [row["reason"] for row in list_quarantine(full_site.session) if row["message_id"] == job_id]

    until(reasons, what="the message in quarantine")
    assert reasons() == ["reply_to must begin with one of amq.gen-, amq.rabbitmq.reply-to, penstock.replies."]


@pytest.fixture
def replier(own_site: Site, tmp_path: Path) -> Iterator[Replier]:
    """One without a pool; not started."""
    replier = a_replier(own_site, own_site.broker_url, tmp_path)
    yield replier
    replier._publisher.close()


def a_replier(site: Site, broker_url: str, folder: Path) -> Replier:
    """Its figures are in the folder."""
    metrics = CaretakerMetrics(MetricFiles(folder, "replier"))
    return Replier(site.ledger, broker_url=broker_url, metrics=metrics, log=structlog.get_logger())


def owe(site: Site, *queues: str) -> None:
    """Let a receipt and a result be owed to each."""
    for queue in queues:
        job_id = put_row(site.session, state="completed")
        values = {"id": job_id, "reply_to": queue, "job_id": job_id, "created_at": now(site.session.dialect)}
        site.session.connection.execute(insert(replies).values(values))


def test_a_queue_that_is_full_holds_up_no_other(
    own_site: Site, replier: Replier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is owed to it stays owed, and is seen to grow old; it is left alone for a while at a time."""
    monkeypatch.setattr(pauses, "PAUSE_SECONDS", pauses.PAUSE_SECONDS_MAX)
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
    with channel_on(own_site.broker_url) as channel:
        channel.queue_declare("penstock.replies.full", durable=True, arguments=arguments)
        channel.queue_declare("penstock.replies.free", durable=True)
        channel.basic_publish("", "penstock.replies.full", b"")
        owe(own_site, *["penstock.replies.full"] * 3, "penstock.replies.free")
        replier._pass(own_site.session)
        assert channel.queue_declare("penstock.replies.free", passive=True).method.message_count == 2
        owe(own_site, "penstock.replies.free")
        replier._pass(own_site.session)
        assert channel.queue_declare("penstock.replies.free", passive=True).method.message_count == 4
    assert replies_lag(own_site.session)[0] == 3
    figures = scraped(tmp_path)
    assert figures["penstock_reply_failures_total"] == 3
    assert figures['penstock_replies_sent_total{kind="result"}'] == 2


# As RabbitMQ writes them; its process has never been. Another RabbitMQ may take it, and deliver it to nobody.
FORGED = f"{DIRECT}.g1h2AA5yZXBseUA2MTYwMDAwMAAAAAAAAAAAAAAAAAAAAA==.aaaa"


def test_a_direct_address_at_which_rabbitmq_breaks_is_given_up(
    own_site: Site, replier: Replier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be owed for as long as the ledger remembers the job, and cost a connection each time."""
    monkeypatch.setattr(module, "SAY_SECONDS", 1.0)
    monkeypatch.setattr(pauses, "PAUSE_SECONDS", 0.2)
    monkeypatch.setattr(pauses, "PAUSE_SECONDS_MAX", 0.5)
    with channel_on(own_site.broker_url) as channel:
        channel.queue_declare("penstock.replies.test", durable=True)
        owe(own_site, FORGED, "penstock.replies.test")
        replier.start()
        until(lambda: owed(own_site) == 0, timeout_seconds=30, what="nothing to be owed")
        assert channel.basic_get("penstock.replies.test")[0] is not None
        replier.stop()


def test_without_rabbitmq_what_is_owed_waits_and_its_health_is_gone(
    own_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing is owed, nothing is missed. It comes back by itself, and catches up."""
    monkeypatch.setattr(module, "HEALTHY_SECONDS", 1.0)
    monkeypatch.setattr(module, "MEASURE_SECONDS", 0.1)
    monkeypatch.setattr(module, "SAY_SECONDS", 0.2)
    with channel_on(own_site.broker_url) as channel, Proxy(own_site.broker_url) as proxy:
        channel.queue_declare("penstock.replies.test", durable=True)
        replier = a_replier(own_site, proxy.url, tmp_path)
        replier.start()
        proxy.is_refusing = True
        passed = replier.passed_at
        until(lambda: replier.passed_at > passed + 1 and replier.is_healthy, what="a second of passes")
        owe(own_site, "penstock.replies.test")
        until(lambda: scraped(tmp_path).get("penstock_reply_failures_total"), what="a failure")
        until(lambda: not replier.is_healthy, what="its health to be gone")
        until(lambda: scraped(tmp_path)["penstock_replies_waiting"] == 1, what="the reply to be seen")
        assert scraped(tmp_path)["penstock_oldest_reply_seconds"] > 0
        proxy.heal()
        until(lambda: replier.is_healthy and owed(own_site) == 0, what="the reply to be sent")
        until(lambda: scraped(tmp_path)["penstock_replies_waiting"] == 0, what="that to be seen")
        replier.stop()


def test_what_is_owed_is_said_though_it_cannot_be_counted(
    own_site: Site, replier: Replier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger has ended the count, as it took too long; only a metric is old."""

    def end(counting: Session) -> None:
        counting.connection.exec_driver_sql("SELECT 1 / 0")

    monkeypatch.setattr(module, "replies_lag", end)
    queue = "penstock.replies.test"
    with channel_on(own_site.broker_url) as channel:
        channel.queue_declare(queue, durable=True)
        owe(own_site, queue)
        replier.start()
        until(lambda: channel.queue_declare(queue, passive=True).method.message_count == 2, what="both replies")
        replier.stop()


def test_a_crash_after_sending_says_it_again(own_site: Site, replier: Replier, monkeypatch: pytest.MonkeyPatch) -> None:
    """At least once: what is not crossed out is owed still."""
    session, queue = own_site.session, "penstock.replies.test"
    with channel_on(own_site.broker_url) as channel:
        channel.queue_declare(queue, durable=True)
        owe(own_site, queue)

        def crash(*_: object) -> None:
            raise ZeroDivisionError

        with monkeypatch.context() as patched:
            patched.setattr(module, "replies_done", crash)
            with pytest.raises(ZeroDivisionError):
                replier._pass(session)
        assert len(owed_replies(session, limit=10)) == 1
        replier._pass(session)
        assert owed_replies(session, limit=10) == []
        said: list[Any] = [channel.basic_get(queue, auto_ack=True) for _ in range(4)]
        assert len({properties.message_id for _, properties, _ in said}) == 2
