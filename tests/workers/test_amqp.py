"""What comes over RabbitMQ: duplicates, strangers, garbage, and plain clients in other languages."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update
from tests.waiting import until
from tests.workers import jobs
from tests.workers.amqp import UNREADABLE_HEADERS, channel_on, put, put_note, ready
from tests.workers.site import Site

from penstock.ledger.dead_letters import Selection, replay_dead
from penstock.ledger.jobs import hurry_job
from penstock.ledger.quarantine import count_quarantine, list_quarantine
from penstock.ledger.tables import jobs as jobs_table
from penstock.producers.client import Producer
from penstock.schemas.identifiers import new_job_id

BODIES = {
    "not JSON": b"{",
    "empty": b"",
    "no object": b"[]",
    "not UTF-8": b'{"name":"\xff"}',
    "too deep": b'{"name":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a lone surrogate": b'{"name":"\\ud800"}',
    "NaN": b'{"name":NaN}',
}
PROPERTIES: list[dict[str, Any]] = [
    {"message_id": "7"},
    {"message_id": None},
    {"job_type": None},
    {"job_type": "no type!"},
    {"content_type": "application/x-pickle"},
    {"headers": {"schema-version": "two"}},
    {"headers": {"schema-version": 0}},
    {"headers": {"due-at": "tomorrow"}},
    {"headers": {"dedup-key": "x" * 256}},
    {"headers": {"dedup-key": "a\x00b"}},
    {"headers": {"tenant": 7}},
    {"message_id": b"\xff"},
    {"job_type": b"\xff"},
    {"reply_to": b"\xff"},
    {"correlation_id": b"\xff"},
]


def test_one_key_from_a_hundred_threads_is_one_effect(full_site: Site) -> None:
    """Whoever publishes first; each gets a receipt."""
    site = full_site
    with ThreadPoolExecutor(100) as threads, Producer(site.broker_url) as producer:
        receipts = list(threads.map(lambda _: producer.publish(jobs.Note(name="once"), key="once"), range(100)))
    assert len({receipt.job_id for receipt in receipts}) == 100
    [ran] = site.sink.await_events("ran", name="once")
    until(lambda: all(site.job(receipt.job_id) for receipt in receipts), what="every id to be known")
    assert {site.job(receipt.job_id)["id"] for receipt in receipts} == {ran["job"]}
    assert len(site.sink.events("ran", name="once")) == 1


def test_one_message_a_hundred_times_is_one_effect(full_site: Site) -> None:
    """Redelivered, replayed by a shovel, published twice by a script."""
    site, job_id = full_site, new_job_id()
    with channel_on(site.broker_url) as channel:
        for _ in range(100):
            put_note(channel, "the same message", job_id=job_id)
    site.await_end(job_id)
    until(lambda: ready(site.broker_url, "test") == 0, what="an empty queue")
    assert site.run(jobs.Note(name="after the duplicates"))["state"] == "completed"
    assert len(site.sink.events("ran", name="the same message")) == 1


def test_another_payload_under_a_known_key_is_a_recorded_conflict(full_site: Site) -> None:
    """It does not run, and it is not lost."""
    site = full_site
    site.run(jobs.Note(name="first of the key"), key="conflict")
    row = site.run(jobs.Note(name="other of the key"), key="conflict")
    assert (row["state"], row["reason"]) == ("dead", "key_conflict")
    assert site.sink.events("ran", name="other of the key") == []


def test_an_id_that_is_known_under_another_type_or_key_is_quarantined(full_site: Site) -> None:
    """Somebody's mistake, or a forgery; the first one is untouched."""
    site = full_site
    row = site.run(jobs.Note(name="owner of the id"))
    before = count_quarantine(site.session)
    with channel_on(site.broker_url) as channel:
        put(channel, "test.async_note", b'{"name":"thief"}', job_id=row["id"])
        put_note(channel, "thief", job_id=row["id"], headers={"dedup-key": "thief"})
    until(lambda: count_quarantine(site.session) == before + 2, what="both in quarantine")
    assert site.job(row["id"])["type"] == "test.note"
    assert site.sink.events("ran", name="thief") == []


def test_a_plain_client_that_follows_the_wire_table_is_served(full_site: Site) -> None:
    """Each property and header arrives where it belongs."""
    site = full_site
    headers = {"dedup-key": "wire", "schema-version": 1, "tenant": "acme", "traceparent": "00-" + "a" * 32}
    with channel_on(site.broker_url) as channel:
        job_id = put(channel, "test.facts", b" {} ", headers=headers, correlation_id="order 7", app_id="cobol")
    row = site.await_end(job_id)
    [facts] = site.sink.events("facts", job=job_id)
    assert (row["state"], row["app_id"], row["traceparent"]) == ("completed", "cobol", headers["traceparent"])
    assert (facts["key"], facts["tenant"], facts["correlation_id"]) == ("wire", "acme", "order 7")
    assert bytes(row["payload"]) == b" {} "


def test_a_delivery_that_is_due_later_waits_in_the_ledger(full_site: Site) -> None:
    """Not in RabbitMQ, and in no worker's memory."""
    site = full_site
    due = datetime.now(UTC) + timedelta(seconds=6)  # long enough to be seen waiting
    with channel_on(site.broker_url) as channel:
        job_id = put_note(channel, "due later", headers={"due-at": due.isoformat()})
        site.await_state(job_id, "scheduled")
        assert ready(site.broker_url, "test") == 0
    row = site.await_end(job_id)
    assert (row["state"], row["attempts"]) == ("completed", 1)
    assert row["started_at"] >= due


def test_garbage_is_quarantined_once_and_its_neighbours_run(full_site: Site) -> None:
    """Every unreadable message is kept byte for byte with its reason; the queue moves on."""
    site = full_site
    before = count_quarantine(site.session)
    broken = [{"body": body} for body in BODIES.values()] + [{"body": b'{"name":"never"}', **it} for it in PROPERTIES]
    good = []
    with channel_on(site.broker_url) as channel:
        for index, message in enumerate(broken):
            put(channel, **{"job_type": "test.note", "routing_key": "test.note", **message})
            good.append(put_note(channel, f"neighbour {index}"))
        for properties in UNREADABLE_HEADERS.values():
            channel.basic_publish("penstock.jobs", "test.note", b'{"name":"never"}', properties, mandatory=True)
            good.append(put_note(channel, "neighbour of headers"))
    for job_id in good:
        assert site.await_end(job_id)["state"] == "completed"
    bad = len(broken) + len(UNREADABLE_HEADERS)
    until(lambda: count_quarantine(site.session) - before >= bad, what="all in quarantine")
    kept = list_quarantine(site.session, limit=1000)[: count_quarantine(site.session) - before]
    assert len(kept) == bad
    assert len({item["reason"] for item in kept}) >= 10
    assert site.sink.events("ran", name="never") == []


def test_an_id_from_the_end_of_time_runs_like_any_other(full_site: Site) -> None:
    """The largest UUIDv7 lies in the year 10889; no clock arithmetic may end a thread."""
    site = full_site
    ids = [f"ffffffff-ffff-7fff-bfff-{number:012x}" for number in range(8)]
    with channel_on(site.broker_url) as channel:
        for job_id in ids:
            put_note(channel, "end of time", job_id=job_id)
    for job_id in ids:
        assert site.await_end(job_id)["state"] == "completed"


def test_an_id_older_than_the_memory_of_the_ledger_does_not_run(full_site: Site) -> None:
    """It may have run long ago; nobody can tell, so a person has to."""
    site = full_site
    before = count_quarantine(site.session)
    with channel_on(site.broker_url) as channel:
        put_note(channel, "from long ago", job_id="01800000-0000-7000-8000-000000000000")
    until(lambda: count_quarantine(site.session) == before + 1, what="the quarantine")
    assert site.sink.events("ran", name="from long ago") == []


@pytest.mark.parametrize(
    ("job_type", "version", "body", "reason"),
    [
        ("test.later", 1, {"name": "later"}, "unknown_type"),
        ("test.note", 2, {"title": "later"}, "unknown_version"),
    ],
)
def test_what_no_worker_knows_waits_unburnt_for_one_that_does(
    own_site: Site, job_type: str, version: int, body: dict[str, str], reason: str
) -> None:
    """A rolling deploy: the old release puts it back as often as it meets it, the new one runs it."""
    site = own_site
    constants = {"reading.UNKNOWN_DELAY_SECONDS": 0.3, "intake.UNKNOWN_DELAY_SECONDS": 0.3}
    with site.pool(name="old", constants=constants) as old:
        with channel_on(site.broker_url) as channel:
            headers = {"schema-version": version}
            payload = json.dumps(body).encode()
            job_id = put(channel, job_type, payload, exchange="", routing_key="test", headers=headers)
        row = site.await_state(job_id, "scheduled")
        assert row["reason"] == reason
        number = row["dispatch_number"]
        until(lambda: site.job(job_id)["dispatch_number"] > number + 2, what="it to be put back again")
        with site.pool(name="new", modules=["tests.workers.jobs", "tests.workers.jobs_later"]):
            # It waits for as long again as it has waited, and the old one may be asked first once more.
            until(
                lambda: hurry_job(site.session, job_id, actor="test") or site.job(job_id)["finished_at"], what="its end"
            )
            row = site.await_end(job_id)
        assert (row["state"], row["attempts"], row["history"]) == ("completed", 1, [])
        assert len(site.sink.events("ran", job=job_id)) == 1
        assert old.metric("penstock_jobs_absorbed_total", type="test.later") == 0


def test_what_no_worker_has_known_for_a_day_is_a_dead_letter_and_runs_after_a_replay(own_site: Site) -> None:
    """Counted as such, with the reason; the replay meets a worker that knows it."""
    site = own_site
    constants = {"reading.UNKNOWN_DELAY_SECONDS": 0.3}
    with site.pool(name="old", constants=constants) as old, channel_on(site.broker_url) as channel:
        headers = {"schema-version": 2}
        payload = b'{"title": "later"}'
        job_id = put(channel, "test.note", payload, exchange="", routing_key="test", headers=headers)
        site.await_state(job_id, "scheduled")
        site.session.connection.execute(
            update(jobs_table)
            .where(jobs_table.c.id == job_id)
            .values(unknown_since=datetime.now(UTC) - timedelta(hours=25), due_at=datetime.now(UTC))
        )
        row = site.await_end(job_id)
        assert (row["state"], row["reason"], row["attempts"]) == ("dead", "unknown_version", 0)
        until(lambda: old.metric("penstock_jobs_dead_total", reason="unknown_version") == 1, what="the metric")
    with site.pool(name="new", modules=["tests.workers.jobs_later"]):
        replay_dead(site.session, selection=Selection(ids=(job_id,)), actor="test")
        until(lambda: site.job(job_id)["state"] == "completed", what="its end")


def test_a_job_under_its_old_name_is_routed_upcast_and_run(own_site: Site) -> None:
    """Published by a service that has not heard of the new name; its key counts under the new one too."""
    site = own_site
    with (
        site.pool(modules=["tests.workers.jobs", "tests.workers.jobs_later"]),
        channel_on(site.broker_url) as channel,
    ):
        job_id = put(channel, "test.before", b'{"name": "old"}', headers={"dedup-key": "k"})
        again = put(channel, "test.renamed", b'{"name": "old"}', headers={"dedup-key": "k"})
        row = site.await_end(job_id)
        assert (row["state"], row["type"], row["version"]) == ("completed", "test.before", 1)
        until(lambda: site.job(again).get("alias") == again, what="the duplicate to be absorbed")
        assert [event["name"] for event in site.sink.events("ran", job=job_id)] == ["old"]


def test_a_thousand_jobs_run_once_each(full_site: Site) -> None:
    """Batches, look-ahead and acks under load."""
    site = full_site
    with Producer(site.broker_url) as producer:
        receipts = producer.publish_many(jobs.Note(name="load") for _ in range(1000))
    ran = site.sink.await_events("ran", count=1000, name="load", timeout_seconds=120)
    assert {event["job"] for event in ran} == {receipt.job_id for receipt in receipts}
    assert site.sink.repeated("ran") == {}
    until(lambda: site.states().get("executing", 0) == 0, what="all to be settled")
    assert not site.running.logged("claims handed back")
