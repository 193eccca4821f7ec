"""A publisher that gives a `reply_to` hears what becomes of its job; a duplicate hears of the first one."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog
from pika.adapters.blocking_connection import BlockingChannel
from sqlalchemy import func, select, text
from tests.ledger.samples import put as put_row
from tests.waiting import until
from tests.workers.amqp import channel_on, put
from tests.workers.site import Site

from penstock.ledger.quarantine import list_quarantine
from penstock.ledger.replies import owed_replies
from penstock.ledger.tables import replies
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

        until(heard, timeout_seconds=20, what=f"{count} replies")
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


def test_nobody_makes_us_publish_into_a_queue_of_jobs(full_site: Site, channel: BlockingChannel) -> None:
    """An address that is no queue for replies breaks the wire format."""
    job_id = put(channel, "test.note", b'{"name": "8"}', reply_to="test")

    def reasons() -> list[str]:
        return [row["reason"] for row in list_quarantine(full_site.session) if row["message_id"] == job_id]

    until(reasons, what="the message in quarantine")
    assert reasons() == ["reply_to must begin with one of amq.gen-, amq.rabbitmq.reply-to, penstock.replies."]


def test_a_crash_after_sending_says_it_again(own_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """At least once: what is not crossed out is owed still."""
    with own_site.ledger.session() as session, channel_on(own_site.broker_url) as channel:
        job_id = put_row(session, state="completed")
        queue = "penstock.replies.test"
        channel.queue_declare(queue, durable=True)
        session.connection.execute(
            text("INSERT INTO replies (id, reply_to, job_id, created_at) VALUES (:id, :queue, :id, now())"),
            {"id": job_id, "queue": queue},
        )
        replier = Replier(own_site.ledger, broker_url=own_site.broker_url, log=structlog.get_logger())

        def crash(*_: object) -> None:
            raise ZeroDivisionError

        with monkeypatch.context() as patched:
            patched.setattr("penstock.workers.replier.replies_done", crash)
            with pytest.raises(ZeroDivisionError):
                replier._pass(session)
        assert len(owed_replies(session, limit=10)) == 1
        replier._pass(session)
        assert owed_replies(session, limit=10) == []
        assert channel.queue_declare(queue, passive=True).method.message_count == 4
        replier._disconnect()
