"""`penstock doctor`."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pika
import pytest
from pika.exchange_type import ExchangeType
from tests.console.command import HANDLERS, Answer, Command
from tests.ledger.samples import put
from tests.servers.ports import free_port
from tests.servers.postgres import PrivatePostgres
from tests.servers.rabbitmq import PrivateRabbitMQ

from penstock.ledger.database import Session
from penstock.ledger.migrations import migrate
from penstock.ledger.processes import Process, register
from penstock.ledger.tables import jobs
from penstock.schemas.identifiers import new_job_id

Findings = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def managed_rabbitmq() -> Iterator[PrivateRabbitMQ]:
    """A RabbitMQ with its management API, which the tests may alarm."""
    with PrivateRabbitMQ(plugins=("rabbitmq_management",)) as rabbitmq:
        yield rabbitmq


def by_check(answer: Answer) -> Findings:
    """The findings of `--json` by their names."""
    return {finding["check"]: finding for finding in answer.documents}


def test_a_sound_installation_has_no_problems(penstock: Command, full: Session, redis_url: str) -> None:
    """Database, schema, broker, exchange, queues and Redis are looked at; exit code 0."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PENSTOCK_REDIS_URL", redis_url)
        penstock("rebuild", "--jobs", HANDLERS)
        register(full, Process(new_job_id(), "default", "here", 1, None, 0))
        answer = penstock("doctor", "--jobs", HANDLERS, "--json")
        people = penstock("doctor", "--jobs", HANDLERS, width="80")
    findings = by_check(answer)
    sound = (
        "database",
        "schema",
        "clock",
        "workers",
        "broker",
        "exchange",
        "queue demo",
        "queue slow",
        "alarms",
        "redis",
    )
    assert {findings[check]["status"] for check in sound} == {"ok"}
    assert "penstock.jobs, topic, durable" in findings["exchange"]["detail"]
    assert findings["queue demo"]["detail"] == "quorum; ready 0, consumers 0"
    assert [finding["check"] for finding in findings.values() if finding["status"] == "problem"] in ([], ["durability"])
    assert max(map(len, people.out.splitlines())) <= 80


def test_looking_changes_nothing(penstock: Command, full: Session, broker_url: str, folder: Path) -> None:
    """No queue is declared, no file is left."""
    answer = penstock("doctor", "--jobs", HANDLERS, "--json")
    findings = by_check(answer)
    assert answer.code == 1
    assert findings["exchange"]["status"] == findings["queue demo"]["status"] == "problem"
    assert "`penstock rebuild` declares it" in findings["queue demo"]["remedy"]
    assert list(folder.iterdir()) == []
    again = by_check(penstock("doctor", "--jobs", HANDLERS, "--json"))
    assert again["queue demo"]["detail"] == "it does not exist"


def test_an_embedded_ledger_is_sound_by_itself(penstock: Command) -> None:
    """Broker and Redis are skipped; what is missing is a worker."""
    penstock("migrate")
    answer = penstock("doctor")
    assert answer.code == 0
    assert "embedded mode, for one host only" in answer.out
    assert "no problems, 1 warning" in answer.out
    assert "start `penstock worker --jobs MODULE`" in answer.out


def test_a_missing_ledger_is_a_problem(penstock: Command) -> None:
    """And is not made by looking for it."""
    answer = penstock("doctor")
    assert answer.code == 1
    assert "there is no file penstock.db" in answer.out
    assert not Path("penstock.db").exists()


def test_an_empty_database_is_a_problem(penstock: Command, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The remedy is a migration."""
    monkeypatch.setenv("PENSTOCK_DATABASE_URL", database_url)
    schema = by_check(penstock("doctor", "--json"))["schema"]
    assert (schema["status"], schema["remedy"]) == ("problem", "run `penstock migrate`")


@pytest.mark.parametrize(
    ("setting", "url", "check"),
    [
        ("PENSTOCK_DATABASE_URL", "postgresql://ann:s3cret@127.0.0.1:{}/x", "database"),
        ("PENSTOCK_BROKER_URL", "amqp://ann:s3cret@127.0.0.1:{}/x", "broker"),
        ("PENSTOCK_REDIS_URL", "redis://ann:s3cret@127.0.0.1:{}/0", "redis"),
        ("PENSTOCK_REDIS_URL", "no redis s3cret {}", "redis"),
        ("PENSTOCK_DATABASE_URL", "no database s3cret {}", "database"),
    ],
)
def test_each_server_may_be_missing(
    setting: str, url: str, check: str, penstock: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are looked at all the same; no password is shown."""
    penstock("migrate")
    monkeypatch.setenv(setting, url.format(free_port()))
    answer = penstock("doctor", "--json")
    findings = by_check(answer)
    assert answer.code == 1
    assert findings[check]["status"] == "problem"
    assert findings[check]["remedy"]
    assert findings["state folder"]["status"] == "ok"
    assert "s3cret" not in answer.out + answer.err + penstock("doctor").out


def test_an_sqlite_ledger_behind_a_broker_is_a_warning(
    penstock: Command, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is for one host, the other for many."""
    penstock("migrate")
    monkeypatch.setenv("PENSTOCK_BROKER_URL", broker_url)
    assert by_check(penstock("doctor", "--json"))["ledger and broker"]["status"] == "warning"


def test_a_database_that_may_forget_commits_is_a_problem(penstock: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """With fsync off, a receipt is worth nothing."""
    with PrivatePostgres(durable=False) as postgres:
        url = postgres.create_database()
        migrate(url)
        monkeypatch.setenv("PENSTOCK_DATABASE_URL", url)
        answer = penstock("doctor", "--json")
    assert answer.code == 1
    durability = by_check(answer)["durability"]
    assert durability["status"] == "problem"
    assert "fsync = on" in durability["remedy"]


def test_without_a_synchronous_standby_it_warns(
    penstock: Command, migrated_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failover that loses commits loses jobs."""
    monkeypatch.setenv("PENSTOCK_DATABASE_URL", migrated_database_url)
    standby = by_check(penstock("doctor", "--json"))["standby"]
    assert standby["status"] == "warning"
    assert "a failover that loses commits loses jobs" in standby["detail"]


def test_jobs_that_have_waited_long_are_a_warning(penstock: Command, session: Session) -> None:
    """Somebody should look at the workers."""
    put(session)
    workers = by_check(penstock("doctor", "--json"))["workers"]
    assert workers["status"] == "warning"
    assert "a due job has waited for 20 min" in workers["detail"]


def test_a_clock_that_is_off_is_seen(penstock: Command, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids and delays are made by the clocks of hosts."""
    monkeypatch.setenv("PENSTOCK_DATABASE_URL", sqlite_url)
    for seconds, status in ((0, "ok"), (5, "warning"), (60, "problem")):
        ahead = timedelta(seconds=seconds)
        monkeypatch.setattr(
            "penstock.console.doctor.database.time_of", lambda _, ahead=ahead: datetime.now(UTC) + ahead
        )
        clock = by_check(penstock("doctor", "--json"))["clock"]
        assert clock["status"] == status


def test_a_queue_that_is_not_what_it_must_be_is_a_problem(penstock: Command, full: Session, broker_url: str) -> None:
    """A classic one, and an exchange of another type."""
    with pika.BlockingConnection(pika.URLParameters(broker_url)) as connection:
        channel = connection.channel()
        channel.queue_declare("demo", durable=True)
        channel.exchange_declare("penstock.jobs", exchange_type=ExchangeType.direct, durable=True)  # type: ignore[arg-type]
    findings = by_check(penstock("doctor", "--jobs", HANDLERS, "--json"))
    assert findings["queue demo"]["status"] == "problem"
    assert "x-queue-type" in findings["queue demo"]["detail"]
    assert findings["exchange"]["status"] == "problem"
    assert "inequivalent arg 'type'" in findings["exchange"]["detail"]


def test_bindings_are_seen_through_the_management_api(
    penstock: Command, full: Session, managed_rabbitmq: PrivateRabbitMQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the handlers, and of the jobs that wait in the ledger."""
    monkeypatch.setenv("PENSTOCK_BROKER_URL", managed_rabbitmq.url)
    monkeypatch.setenv("PENSTOCK_MANAGEMENT_URL", f"http://127.0.0.1:{managed_rabbitmq.management_port}/")
    put(full, type="demo.other", queue="demo")
    penstock("rebuild", "--jobs", HANDLERS)
    assert by_check(penstock("doctor", "--jobs", HANDLERS, "--json"))["bindings"]["status"] == "ok"
    put(full, type="demo.unbound", queue="demo")
    bindings = by_check(penstock("doctor", "--json"))["bindings"]
    assert (bindings["status"], bindings["detail"]) == ("problem", "missing: demo.unbound → demo")
    monkeypatch.setenv("PENSTOCK_MANAGEMENT_URL", f"http://127.0.0.1:{free_port()}")
    assert by_check(penstock("doctor", "--json"))["bindings"]["status"] == "problem"
    full.connection.execute(jobs.delete())


def test_an_alarm_of_the_broker_is_a_problem(
    penstock: Command, full: Session, managed_rabbitmq: PrivateRabbitMQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RabbitMQ takes no messages then."""
    monkeypatch.setenv("PENSTOCK_BROKER_URL", managed_rabbitmq.url)
    managed_rabbitmq.ctl("set_vm_memory_high_watermark", "0.00001")
    try:
        alarms = by_check(penstock("doctor", "--json"))["alarms"]
    finally:
        managed_rabbitmq.ctl("set_vm_memory_high_watermark", "0.4")
    assert alarms["status"] == "problem"
    assert "takes no messages" in alarms["detail"]


def test_a_state_folder_that_cannot_be_written_is_a_problem(
    penstock: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here a file stands in its place."""
    (folder / "a_file").touch()
    monkeypatch.setenv("PENSTOCK_STATE_DIR", "a_file")
    assert by_check(penstock("doctor", "--json"))["state folder"]["status"] == "problem"


def test_bad_input_is_refused_before_anything_is_looked_at(penstock: Command) -> None:
    """Exit code 2."""
    assert penstock("doctor", "--jobs", "nowhere").code == 2
