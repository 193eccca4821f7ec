"""`penstock publish`."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pika
import pytest
from tests.console.command import HANDLERS, Command

from penstock.ledger.database import Session
from penstock.ledger.jobs import list_jobs, show_job
from penstock.workers import topology


def test_without_a_broker_the_job_goes_into_the_ledger(penstock: Command, session: Session) -> None:
    """The receipt says so and has the id."""
    answer = penstock("publish", "demo.add", '{"n": 1}', "--queue", "demo", "--key", "row-1", "--json")
    assert answer.code == 0
    receipt = answer.document
    assert receipt["durability"] == "ledger"
    assert receipt["key"] == "row-1"
    job = show_job(session, receipt["job_id"])
    assert job is not None
    assert (job["type"], job["queue"], job["state"], job["payload"]) == ("demo.add", "demo", "available", b'{"n": 1}')


def test_the_same_key_twice_is_the_same_job(penstock: Command, session: Session) -> None:
    """The second receipt has the first one's id, and says so, to programs and to people."""
    words = ("publish", "demo.add", '{"n":1}', "--queue", "demo", "--key", "k")
    first, second, said = penstock(*words, "--json").document, penstock(*words, "--json").document, penstock(*words)
    assert second["job_id"] == first["job_id"]
    assert (first["duplicate"], second["duplicate"]) == (False, True)
    assert said.code == 0
    assert "duplicate  yes: this job came first under the key" in said.out
    assert first["job_id"] in said.out
    assert len(list_jobs(session)) == 1


def test_another_payload_under_the_same_key_is_an_error(penstock: Command, session: Session) -> None:
    """Not a duplicate that nobody hears of."""
    words = ("--queue", "demo", "--key", "k")
    assert penstock("publish", "demo.add", '{"n":1}', *words).code == 0
    answer = penstock("publish", "demo.add", '{"n":2}', *words)
    assert answer.code == 1
    assert "belongs to another job with another payload" in answer.error


def test_the_receipt_is_readable(penstock: Command, session: Session) -> None:
    """People see the id and what the receipt is worth."""
    answer = penstock("publish", "demo.add", "{}", "--queue", "demo")
    [job] = list_jobs(session)
    assert job["id"] in answer.out
    assert "ledger: survives the loss of the broker too" in answer.out


def test_an_embedded_ledger_is_made_by_the_first_publish(penstock: Command) -> None:
    """Nothing needs to be migrated for a first look."""
    assert penstock("publish", "demo.once", "{}", "--jobs", HANDLERS).code == 0
    assert len(penstock("jobs", "list", "--json").documents) == 1


def test_the_payload_may_come_from_stdin(penstock: Command, session: Session) -> None:
    """Written as a dash."""
    answer = penstock("publish", "demo.add", "-", "--queue", "demo", "--json", stdin='{"n":"ä"}')
    job = show_job(session, answer.document["job_id"])
    assert job is not None
    assert job["payload"] == '{"n":"ä"}'.encode()


def test_a_job_may_be_due_later(penstock: Command, session: Session) -> None:
    """It is scheduled, not available."""
    answer = penstock("publish", "demo.add", "{}", "--queue", "demo", "--due", "+2h", "--json")
    job = show_job(session, answer.document["job_id"])
    assert job is not None
    assert job["state"] == "scheduled"
    assert abs(job["due_at"] - datetime.now(UTC) - timedelta(hours=2)) < timedelta(minutes=1)


def test_the_contract_decides_queue_version_and_guarantee(penstock: Command, session: Session) -> None:
    """With --jobs the newest version is meant, unless one is given."""
    newest = penstock("publish", "demo.add", '{"n":1,"m":2}', "--jobs", HANDLERS, "--json").document
    older = penstock("publish", "demo.add", '{"n":1}', "--version", "1", "--jobs", HANDLERS, "--json").document
    once = penstock("publish", "demo.once", "{}", "--jobs", HANDLERS, "--json").document
    actor = penstock("publish", "old_actor", '{"args":[1]}', "--jobs", HANDLERS, "--json").document
    versions = [show_job(session, receipt["job_id"]) for receipt in (newest, older, once, actor)]
    assert [(job["version"], job["queue"], job["at_most_once"]) for job in versions if job] == [
        (2, "demo", False),
        (1, "demo", False),
        (1, "demo", True),
        (1, "actors", False),
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("demo.add", '{"n": "p4yload"}', "--version", "1", "--jobs", HANDLERS), "field 'n'"),
        (("demo.nothing", "{}", "--jobs", HANDLERS), "it has demo.add, demo.fail"),
        (("demo.add", "{}", "--version", "7", "--jobs", HANDLERS), "handled in version 1, 2"),
        (("demo.add", '{"n":1,"m":1}', "--queue", "other", "--jobs", HANDLERS), "leave it out"),
        (("demo.add", "{n: 1}", "--queue", "demo"), "JSON: body is not JSON"),
        (("demo.add", "[1]", "--queue", "demo"), "body must be a JSON object"),
        (("demo.add", "{}"), "--queue or --jobs is needed"),
        (("demo add", "{}", "--queue", "demo"), "not a job type name"),
        (("demo.add", "{}", "--queue", "no queue"), "'no queue' is not a name"),
        (("demo.add", "{}", "--queue", "demo", "--key", ""), "--key: dedup-key must have between"),
        (("demo.add", "{}", "--queue", "demo", "--due", "tomorrow"), "--due 'tomorrow' is no time"),
        (("demo.add", "{}", "--queue", "demo", "--due", "2026-11-23T07:00:00"), "has no time zone"),
        (("demo.add", "{}", "--queue", "demo", "--version", "0"), "--version"),
        (("demo.add",), "Missing argument 'JSON'"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    words: tuple[str, ...], said: str, penstock: Command, session: Session
) -> None:
    """It names what is wrong, never the payload, and nothing is accepted."""
    answer = penstock("publish", *words)
    assert answer.code == 2
    assert said in answer.error
    assert "p4yload" not in answer.error
    assert list_jobs(session) == []


def test_a_job_goes_through_rabbitmq_where_there_is_one(penstock: Command, full: Session, broker_url: str) -> None:
    """The receipt says `broker`; the message is on its queue."""
    topology.declare(broker_url, {"demo": {"demo.add"}}, name="test")
    answer = penstock("publish", "demo.add", '{"n":1}', "--key", "k", "--json")
    typed = penstock("publish", "demo.add", '{"n":2,"m":3}', "--jobs", HANDLERS, "--json")
    assert (answer.code, answer.document["durability"], answer.err) == (0, "broker", "")
    assert answer.document["duplicate"] is None
    assert list_jobs(full) == []
    with pika.BlockingConnection(pika.URLParameters(broker_url)) as connection:
        channel = connection.channel()
        for receipt, body in ((answer.document, b'{"n":1}'), (typed.document, b'{"n":2,"m":3}')):
            message: Any = channel.basic_get("demo", auto_ack=True)
            _, properties, got = message
            assert properties.message_id == receipt["job_id"]
            assert got == body


def test_nobody_says_of_a_job_for_rabbitmq_whether_it_is_a_duplicate(
    penstock: Command, full: Session, broker_url: str
) -> None:
    """The claim finds out, and `jobs show` says it by either id; without a key there is nothing to find out."""
    topology.declare(broker_url, {"demo": {"demo.add"}}, name="test")
    said = penstock("publish", "demo.add", '{"n":1}', "--key", "k").out
    assert "duplicate  not known before a worker claims it: `penstock jobs show` tells" in said
    assert "duplicate" not in penstock("publish", "demo.add", '{"n":1}').out


def test_a_queue_that_rabbitmq_would_not_hear_of_is_refused(penstock: Command, full: Session, broker_url: str) -> None:
    """It would be left out of account without a word."""
    topology.declare(broker_url, {"demo": {"demo.add"}}, name="test")
    answer = penstock("publish", "demo.add", '{"n":1}', "--queue", "other")
    assert answer.code == 2
    assert "--queue other: RabbitMQ's bindings say which queues get a type; leave it out" in answer.error
    with pika.BlockingConnection(pika.URLParameters(broker_url)) as connection:
        assert connection.channel().basic_get("demo") == (None, None, None)


def test_a_type_without_a_queue_is_a_problem_with_its_remedy(penstock: Command, full: Session) -> None:
    """RabbitMQ returned it: the exit code is 1."""
    answer = penstock("publish", "demo.add", "{}")
    assert answer.code == 1
    assert "`penstock rebuild --jobs MODULE`" in answer.error


def test_sensitive_fields_are_sealed_on_their_way_and_shown_to_nobody(
    penstock: Command, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the keys of the environment; without them nothing is published."""
    words = ("publish", "test.refund", '{"card": "4111-1111"}', "--jobs", "tests.workers.jobs_sensitive", "--json")
    answer = penstock(*words)
    assert (answer.code, "needs a keyring" in answer.error) == (2, True)
    monkeypatch.setenv("PENSTOCK_KEYRING", f"a:{'A' * 43}=")
    published = penstock(*words).document["job_id"]
    shown = penstock("jobs", "show", published, "--payload", "--json")
    assert shown.document["payload"] == {"card": "[sealed]"}
    monkeypatch.setenv("PENSTOCK_KEYRING", "a:AAAA")
    answer = penstock(*words)
    assert (answer.code, answer.error) == (2, "key 'a' has 3 bytes; it must have 32")
