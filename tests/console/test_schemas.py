"""`penstock schemas`: exports that say what the contracts are, and a gate for the next release."""

import json
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from tests.console.command import REPOSITORY, Command
from tests.console.shop_one import Ship
from tests.ledger.samples import accepted, change, put, waiting_offer

from penstock.console.schemas.export import documents_of, text_of
from penstock.ledger.admission import admit
from penstock.ledger.database import Session
from penstock.ledger.schedules import change_schedule
from penstock.producers.outbox import DDL, enqueue
from penstock.producers.outbox.address import open_store
from penstock.producers.outbox.store import Refused
from penstock.schemas.documents import parse_schema_name
from penstock.workers import Registry

ONE, TWO, THREE = (f"tests.console.shop_{release}" for release in ("one", "two", "three"))
SECRET = b"4111111111111111"


def test_the_contracts_of_our_own_jobs_are_exported_as_they_are() -> None:
    """What is committed is what a publisher in another language reads; `penstock schemas export` writes it."""
    documents = documents_of(Registry.load(["penstock.notifications.handlers", "penstock.pipelines.handlers"]))
    folder = REPOSITORY / "schemas" / "contracts"
    current = {name: text_of(document) for name, document in documents.items()}
    assert {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.json")} == current
    assert {it for name in current if (it := parse_schema_name(name))} == {
        ("notifications.email", 1),
        ("pipelines.load_chunk", 1),
        ("pipelines.load_csv", 1),
    }


def test_an_export_writes_what_has_changed_and_keeps_what_may_still_wait(penstock: Command, folder: Path) -> None:
    """Twice the same is written once; the file of the older version stays."""
    first = penstock("schemas", "export", "--jobs", ONE, "--json").document
    files = ["asyncapi.json", "openapi.json", "shop.ship.v1.json"]
    assert first == {"folder": "schemas", "files": files, "written": files}
    assert penstock("schemas", "export", "--jobs", ONE, "--json").document["written"] == []
    schema = json.loads((folder / "schemas" / "shop.ship.v1.json").read_text())
    assert schema["required"] == ["order"]
    assert "3 files, 3 of them changed" in penstock("schemas", "export", "--jobs", THREE).out
    assert sorted(it.name for it in (folder / "schemas").iterdir()) == [
        "asyncapi.json",
        "openapi.json",
        "shop.send.v2.json",
        "shop.ship.v1.json",
    ]


def test_a_release_that_takes_what_the_last_one_took_passes(penstock: Command) -> None:
    """The same, or one with a new version, a new name and a way to them."""
    penstock("schemas", "export", "--jobs", ONE)
    same = penstock("schemas", "check", "--jobs", ONE, "--json")
    assert (same.code, [it["status"] for it in same.document["contracts"]]) == (0, ["ok"])
    later = penstock("schemas", "check", "--jobs", THREE, "--json")
    assert later.code == 0
    assert [(it["type"], it["version"], it["status"], it["detail"]) for it in later.document["contracts"]] == [
        ("shop.ship", 1, "ok", "is upcast to version 2"),
        ("shop.send", 2, "note", "is not exported yet"),
    ]


def test_a_release_that_would_refuse_a_payload_is_refused_with_the_field_and_the_remedy(penstock: Command) -> None:
    """A newly required field without an upcaster."""
    penstock("schemas", "export", "--jobs", ONE)
    answer = penstock("schemas", "check", "--jobs", TWO)
    assert answer.code == 1
    assert "carrier is newly required" in answer.out
    assert "add an upcaster" in answer.out


def test_a_compatible_change_is_noted_so_that_it_is_exported(penstock: Command, folder: Path) -> None:
    """What was exported had one rule more."""
    penstock("schemas", "export", "--jobs", ONE)
    path = folder / "schemas" / "shop.ship.v1.json"
    schema = json.loads(path.read_text())
    schema["properties"]["order"]["maximum"] = 7
    path.write_text(json.dumps(schema))
    answer = penstock("schemas", "check", "--jobs", ONE, "--json")
    [found] = answer.document["contracts"]
    assert (answer.code, found["status"], found["detail"]) == (0, "note", "has changed, compatibly")
    assert "`penstock schemas export`" in found["remedy"]


@pytest.mark.parametrize(
    ("name", "said"), [("shop.gone.v1.json", "this type has no handler"), ("shop.ship.v7.json", "this version has no")]
)
def test_a_type_or_version_without_a_handler_is_a_problem(
    penstock: Command, folder: Path, name: str, said: str
) -> None:
    """Something of it may still wait."""
    penstock("schemas", "export", "--jobs", ONE)
    (folder / "schemas" / name).write_text("{}")
    answer = penstock("schemas", "check", "--jobs", ONE, "--json")
    assert answer.code == 1
    [problem] = [it for it in answer.document["contracts"] if it["status"] == "problem"]
    assert said in problem["detail"]


def test_without_exports_there_is_nothing_to_check_against(penstock: Command, folder: Path) -> None:
    """It says what to run; a file that is no JSON is named too."""
    assert "run `penstock schemas export` first" in penstock("schemas", "check", "--jobs", ONE).error
    penstock("schemas", "export", "--jobs", ONE)
    (folder / "schemas" / "shop.ship.v1.json").write_text("{")
    answer = penstock("schemas", "check", "--jobs", ONE)
    assert (answer.code, "not JSON" in answer.error) == (2, True)


def test_a_release_that_breaks_ten_thousand_waiting_jobs_is_refused_with_counts_and_examples(
    penstock: Command, session: Session
) -> None:
    """In seconds, by job id and field, never by value; jobs of others are only noted."""
    body = b'{"order": %s}' % SECRET
    for _ in range(20):
        admit(session, [waiting_offer(body, type="shop.ship", queue="shop") for _ in range(500)])
    dead, delayed = (accepted(session, type="shop.ship", queue="shop", body=body) for _ in range(2))
    change(session, dead, state="dead", reason="attempts")
    change(session, delayed, state="scheduled")
    accepted(session, type="others.job")
    penstock("schemas", "export", "--jobs", ONE)
    assert penstock("schemas", "check", "--jobs", ONE, "--live").code == 0

    started = time.monotonic()
    answer = penstock("schemas", "check", "--jobs", TWO, "--live", "--json")
    assert time.monotonic() - started < 10

    assert answer.code == 1
    others, ships = answer.document["live"]
    assert (others["type"], others["status"], others["known"], others["jobs"]) == ("others.job", "note", False, 1)
    assert ships["refused"] == {"available": 10_000, "dead": 1, "scheduled": 1} == ships["states"]
    assert ships["fields"] == [{"field": "carrier", "problem": "Field required", "jobs": 10_002}]
    assert len({it["id"] for it in ships["examples"]}) == 5
    assert SECRET.decode() not in answer.out
    told = penstock("schemas", "check", "--jobs", TWO, "--live", width="200")
    assert "refuses 10002 (10000 available, 1 dead, 1 scheduled)" in told.out
    assert SECRET.decode() not in told.out
    assert penstock("schemas", "check", "--jobs", THREE, "--live").code == 0


def test_only_what_may_still_run_is_held_against_the_contracts(penstock: Command, session: Session) -> None:
    """Not what has ended, nor dead letters that fitted no contract before and keys that were somebody else's."""
    for state, reason in [
        ("completed", None),
        ("cancelled", "cancelled"),
        ("dead", "invalid_payload"),
        ("dead", "key_conflict"),
    ]:
        put(session, type="shop.ship", queue="shop", payload=b"{}", state=state, reason=reason)
    penstock("schemas", "export", "--jobs", ONE)
    assert penstock("schemas", "check", "--jobs", ONE, "--live", "--json").document["live"] == []
    for state in ("available", "scheduled", "retryable", "executing", "dead"):
        put(session, type="shop.ship", queue="shop", payload=b"{}", state=state)
    put(session, type="shop.ship", queue="shop", payload=b"{}", dispatched_at=datetime.now(UTC))
    [found] = penstock("schemas", "check", "--jobs", ONE, "--live", "--json").document["live"]
    assert found["refused"] == {"available": 2, "scheduled": 1, "retryable": 1, "executing": 1, "dead": 1}


def test_a_waiting_version_without_a_way_is_a_problem(penstock: Command, session: Session) -> None:
    """The handler of the older one is gone, or an older release runs against a newer publisher."""
    job_id = accepted(session, type="shop.ship", queue="shop", version=7)
    penstock("schemas", "export", "--jobs", ONE)
    answer = penstock("schemas", "check", "--jobs", ONE, "--live", "--json")
    assert answer.code == 1
    [found] = answer.document["live"]
    assert found["examples"] == [
        {
            "id": job_id,
            "state": "available",
            "field": "(version)",
            "problem": "no handler and no upcaster for this version",
        }
    ]


def test_what_a_schedule_would_make_is_held_against_the_contracts_too(penstock: Command, session: Session) -> None:
    """Paused or not, with the time of a tick in its place; not one that fires no more."""
    words = ["--type", "shop.ship", "--cron", "0 7 * * *", "--queue", "shop"]
    penstock("schedules", "add", "good", *words, "--payload", '{"order": 7}')
    penstock("schedules", "add", "timed", *words, "--tick-field", "order")
    penstock("schedules", "add", "paused", *words)
    penstock("schedules", "pause", "paused")
    penstock("schedules", "add", "gone", *words)
    change_schedule(session, "gone", module="app.jobs", removed_at=datetime.now(UTC))
    penstock("schemas", "export", "--jobs", ONE)
    answer = penstock("schemas", "check", "--jobs", ONE, "--live", "--json")
    [found] = answer.document["live"]
    assert (answer.code, found["states"], found["refused"]) == (1, {"schedule": 3}, {"schedule": 2})
    assert [(it["id"], it["field"], it["problem"]) for it in found["examples"]] == [
        ("paused", "order", "Field required"),
        ("timed", "order", "Input should be a valid integer, unable to parse string as an integer"),
    ]


def test_what_a_service_has_enqueued_is_held_against_the_contracts_where_its_outbox_is_named(
    penstock: Command, ledger_url: str, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held rows too; relays go on meanwhile."""
    engine = create_engine(ledger_url)
    with engine.begin() as connection:
        for statement in filter(str.strip, DDL[engine.dialect.name].split(";")):
            connection.exec_driver_sql(statement)
        added = [enqueue(connection, Ship(order=n)) for n in range(3)]
    engine.dispose()
    penstock("schemas", "export", "--jobs", ONE)
    assert "PENSTOCK_OUTBOX_DATABASE_URL must name" in penstock("schemas", "check", "--jobs", ONE, "--outbox").error
    monkeypatch.setenv("PENSTOCK_OUTBOX_DATABASE_URL", ledger_url)
    with closing(open_store(ledger_url)) as relay:
        relay.take(after=None, limit=1, without=[])
        relay.settle(published=[], refused=[Refused(added[0], "no queue")])
        relay.take(after=None, limit=1, without=[])
        assert penstock("schemas", "check", "--jobs", ONE, "--outbox").code == 0
        answer = penstock("schemas", "check", "--jobs", TWO, "--outbox", "--json")
        relay.settle(published=[], refused=[])
    [found] = answer.document["live"]
    assert (answer.code, found["refused"]) == (1, {"outbox": 3})
    assert [it["id"] for it in found["examples"]] == added


def test_a_ledger_without_jobs_lets_every_release_through(penstock: Command, session: Session) -> None:
    """Nothing waits."""
    penstock("schemas", "export", "--jobs", ONE)
    answer = penstock("schemas", "check", "--jobs", ONE, "--live")
    assert (answer.code, "nothing to hold this release against" in answer.out) == (0, True)
