"""`penstock schedules`, and what a worker makes of the schedules in its modules."""

import json
from datetime import UTC, datetime

import pytest
from tests.console.command import Answer, Command, Starter
from tests.schedules.jobs import NAME, declared, schedule_of, start
from tests.waiting import until

from penstock.ledger.audit import list_audit
from penstock.ledger.database import Ledger, Session
from penstock.ledger.jobs import list_jobs, show_job
from penstock.ledger.schedules import change_schedule
from penstock.schemas.keyring import read_header

MODULE = "tests.console.clockwork"
SECRETS = "tests.console.rents"
FROM_CODE = "demo.add"
CARD = "4111111111111111"
KEYRING = "2026-11:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


def test_without_schedules_it_says_how_to_make_one(penstock: Command, session: Session) -> None:
    """And JSON has no line."""
    assert "put @every above" in penstock("schedules", "list").out
    assert penstock("schedules", "list", "--json").documents == []


def test_they_are_listed_with_their_next_and_last_run(penstock: Command, session: Session) -> None:
    """One line each."""
    start(session, declared("0 7 * * *", timezone="Europe/Warsaw"))
    printed = penstock("schedules", "list", width="160").out
    for word in (NAME, "0 7 * * *", "Europe/Warsaw", "demo.report", "active", "in "):
        assert word in printed
    [document] = penstock("schedules", "list", "--json").documents
    assert (document["name"], document["state"], document["last_job_id"]) == (NAME, "active", None)
    assert len(document["next"]) == 5


def test_one_is_shown_with_its_next_runs_and_without_its_payload(penstock: Command, session: Session) -> None:
    """A reveal is in the audit."""
    start(session, declared("0 7 * * *", timezone="Europe/Warsaw", subject="secret figures"))
    shown = penstock("schedules", "show", NAME).out
    assert shown.count("next") == 5
    assert "secret" not in shown
    assert "secret figures" in penstock("schedules", "show", NAME, "--payload").out
    assert [row["action"] for row in list_audit(session)] == ["show payload"]
    answer = penstock("schedules", "show", "nobody")
    assert (answer.code, "see `penstock schedules list`" in answer.error) == (1, True)


def test_pause_resume_run_and_set(penstock: Command, session: Session) -> None:
    """Each at once, each in the audit under the name of who did it."""
    start(session, declared("0 7 * * *"))
    assert penstock("schedules", "pause", NAME).out == f"schedule {NAME} is paused\n"
    assert penstock("schedules", "list", "--json").documents[0]["state"] == "paused"
    assert "goes on; next: " in penstock("schedules", "resume", NAME).out
    job_id = penstock("schedules", "run", NAME, "--json").document["job_id"]
    assert (show_job(session, job_id) or {})["state"] == "available"
    answer = penstock("schedules", "set", NAME, "--cron", "*/5 * * * *", "--timezone", "America/New_York", "--json")
    assert (answer.document["cron"], answer.document["timezone"]) == ("*/5 * * * *", "America/New_York")
    assert answer.document["declared"]["cron"] == "0 7 * * *"
    assert "cron: 0 7 * * *" in penstock("schedules", "show", NAME).out
    penstock("schedules", "set", NAME, "--missed", "all", "--missed-max", "3")
    assert (schedule_of(session).missed, schedule_of(session).missed_max) == ("all", 3)
    actions = [(row["actor"], row["action"]) for row in list_audit(session)]
    assert actions == [("ann", f"{verb} schedule") for verb in ("set", "set", "run", "resume", "pause")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cron", "0 25 * * *"], "no cron expression"),
        (["--timezone", "Europe/Atlantis"], "no time zone"),
        ([], "nothing to set"),
    ],
)
def test_what_cannot_be_set_is_bad_input(penstock: Command, session: Session, words: list[str], said: str) -> None:
    """And nothing changes."""
    start(session, declared("0 7 * * *"))
    answer = penstock("schedules", "set", NAME, *words)
    assert (answer.code, said in answer.error) == (2, True)
    assert schedule_of(session).cron == "0 7 * * *"


def add(penstock: Command, name: str, *words: str) -> Answer:
    """Add a schedule of `demo.add` at seven."""
    return penstock("schedules", "add", name, "--type", "demo.add", "--cron", "0 7 * * *", *words)


def test_a_schedule_that_no_code_declares_is_added_changed_and_removed(penstock: Command, session: Session) -> None:
    """It says when it comes next, on the clock of its zone; all of it is in the audit, the payload is not."""
    added = add(penstock, "nightly", "--jobs", MODULE, "--payload", '{"n": 7}', "--timezone", "Asia/Tokyo")
    assert added.out.startswith("schedule nightly is added; next: ")
    assert " 07:00:00 +0900 (in " in added.out
    document = penstock("schedules", "list", "--json").document
    assert (document["name"], document["module"], document["queue"], document["version"]) == (
        "nightly",
        None,
        "demo",
        1,
    )
    assert "it was added at run time" in penstock("schedules", "show", "nightly").out
    assert "in the code" not in penstock("schedules", "show", "nightly").out

    assert penstock("schedules", "set", "nightly", "--payload", '{"n": 8}', "--cron", "0 8 * * *").code == 0
    row = schedule_of(session, "nightly")
    assert (row.payload, row.cron, row.queue) == (b'{"n": 8}', "0 8 * * *", "demo")
    job_id = penstock("schedules", "run", "nightly", "--json").document["job_id"]

    assert penstock("schedules", "remove", "nightly").out == "schedule nightly is removed; its jobs go on\n"
    assert penstock("schedules", "list", "--json").documents == []
    assert (show_job(session, job_id) or {})["state"] == "available"
    assert penstock("schedules", "remove", "nightly").code == 1
    audit = list_audit(session)
    assert [row["action"] for row in audit] == [
        "remove schedule",
        "run schedule",
        "set payload",
        "set schedule",
        "add schedule",
    ]
    assert '"n"' not in str(audit)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--jobs", MODULE, "--payload", '{"n": "seven"}'],
            "payload of demo.add v1 does not fit its contract: field 'n': Input should be",
        ),
        (["--jobs", MODULE, "--payload", '{"m": 7}'], "field 'm': "),
        (["--jobs", MODULE, "--queue", "other"], "the contract of demo.add says demo; leave it out"),
        (["--jobs", MODULE, "--version", "3"], "demo.add is handled in version 1"),
        (["--jobs", MODULE, "--tick-field", "n"], "field 'n': Input should be a valid integer"),
        (["--jobs", MODULE, "--tick-field", "when"], "field 'when': "),
        (["--queue", "demo", "--payload", "[1]"], "JSON: body must be a JSON object"),
        (["--payload", "{}"], "--queue or --jobs is needed"),
        (["--queue", "a queue"], "is not a name"),
        (["--queue", "demo", "--timezone", "Mars"], "'Mars' is no time zone"),
        (["--queue", "demo", "--cron", "0 25 * * *"], "no cron expression"),
    ],
)
def test_what_cannot_be_added_is_refused_with_the_reason(
    penstock: Command, session: Session, words: list[str], said: str
) -> None:
    """And nothing is added."""
    answer = add(penstock, "nightly", *words)
    assert (answer.code, said in answer.error) == (2, True), answer.error
    assert penstock("schedules", "list", "--json").documents == []


def test_a_name_belongs_to_whoever_had_it_first(penstock: Command, session: Session) -> None:
    """The code does not overwrite what was added, nor the other way round; each says what to do."""
    add(penstock, "nightly", "--queue", "demo")
    assert "change it with `penstock schedules set nightly`" in add(penstock, "nightly", "--queue", "demo").error
    [said] = start(session, declared("0 0 1 1 *", name="nightly"))
    assert "`penstock schedules remove nightly` makes room for the one of the code" in said
    assert (schedule_of(session, "nightly").cron, schedule_of(session, "nightly").type) == ("0 7 * * *", "demo.add")

    penstock("schedules", "remove", "nightly")
    assert start(session, declared("0 0 1 1 *", name="nightly")) == ["nightly: is new"]
    assert add(penstock, "nightly", "--queue", "demo").error == (
        "schedule nightly is declared in module app.jobs: give yours another name"
    )
    assert "its payload is the code's" in penstock("schedules", "set", "nightly", "--payload", "{}").error
    assert "`penstock schedules pause nightly`" in penstock("schedules", "remove", "nightly").error
    assert schedule_of(session, "nightly").type == "demo.report"

    start(session)
    assert "`penstock schedules remove nightly` forgets it" in add(penstock, "nightly", "--queue", "demo").error
    assert penstock("schedules", "remove", "nightly").code == 0
    assert add(penstock, "nightly", "--queue", "demo").code == 0


def test_a_workers_start_leaves_alone_what_was_added_at_run_time(penstock: Command, session: Session) -> None:
    """Whatever its own module declares, or does not declare any more."""
    add(penstock, "nightly", "--queue", "demo", "--payload", '{"n": 9}')
    start(session, declared("0 0 1 1 *"))
    start(session)
    assert [(it["name"], it["state"]) for it in penstock("schedules", "list", "--json").documents] == [
        ("nightly", "active"),
        (NAME, "not in the code"),
    ]
    assert schedule_of(session, "nightly").payload == b'{"n": 9}'


def test_a_worker_warns_when_a_schedule_of_its_own_does_not_come(
    penstock: Command, running: Starter, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody has taken its name; the worker starts all the same."""
    monkeypatch.setenv("PENSTOCK_DATABASE_URL", sqlite_url)
    add(penstock, FROM_CODE, "--queue", "demo")
    worker = running("worker", "--jobs", MODULE, "--metrics-port", "0").wait_for("worker process started")
    [said] = [json.loads(line) for line in worker.text.splitlines() if "makes room for the one of the code" in line]
    assert said["level"] == "warning"
    assert worker.stop() == 0


def test_secrets_are_sealed_at_rest_and_bound_to_the_job_of_each_tick(
    penstock: Command, running: Starter, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the command line to the handler; without a key nothing is written."""
    monkeypatch.setenv("PENSTOCK_DATABASE_URL", sqlite_url)
    words = ["--type", "demo.charge", "--cron", "0 0 1 1 *", "--tick-field", "at", "--jobs", SECRETS, "--payload", "-"]
    clear = f'{{"cents": 500, "card": "{CARD}"}}'
    refused = penstock("schedules", "add", "rent", *words, stdin=clear)
    assert (refused.code, "PENSTOCK_KEYRING" in refused.error, CARD in refused.error) == (2, True, False)
    monkeypatch.setenv("PENSTOCK_KEYRING", KEYRING)
    assert penstock("schedules", "add", "rent", *words, stdin=clear).code == 0
    assert CARD not in penstock("schedules", "show", "rent", "--payload").out
    assert "[sealed]" in penstock("schedules", "show", "rent", "--payload").out
    assert penstock("schemas", "export", "--jobs", SECRETS).code == 0
    assert penstock("schemas", "check", "--jobs", SECRETS, "--live").code == 0

    worker = running("worker", "--jobs", SECRETS, "--metrics-port", "0").wait_for("worker process started")
    with Ledger(sqlite_url).session() as session:
        assert CARD.encode() not in schedule_of(session, "rent").payload
        change_schedule(session, "rent", next_at=datetime(2020, 1, 1, tzinfo=UTC))
        now = penstock("schedules", "run", "rent", "--json").document["job_id"]

        def results() -> set[str]:
            found = [show_job(session, job["id"]) or {} for job in list_jobs(session, type="demo.charge")]
            return {bytes(job["result"]).decode() for job in found if job["state"] == "completed" and len(found) == 2}

        until(results, timeout_seconds=30, what="the job of the tick and the one of now")
        assert results() == {'"500 from a card of 16 digits"'}
        for job in list_jobs(session, type="demo.charge"):
            row = show_job(session, job["id"]) or {}
            header = read_header(json.loads(row["payload"])["card"]) or {}
            assert (header["job"], header["field"], row["at_most_once"]) == (job["id"], "card", True)
        assert show_job(session, now) is not None
    assert worker.stop() == 0
    assert CARD not in worker.text


def test_a_dispatcher_without_the_key_leaves_the_tick_to_another(
    penstock: Command, running: Starter, full: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so, and fires the others."""
    monkeypatch.setenv("PENSTOCK_KEYRING", KEYRING)
    words = ["--type", "demo.charge", "--cron", "0 0 1 1 *", "--tick-field", "at", "--jobs", SECRETS]
    penstock("schedules", "add", "rent", *words, "--payload", f'{{"cents": 500, "card": "{CARD}"}}')
    add(penstock, "plain", "--queue", "demo")
    change_schedule(full, "rent", next_at=datetime(2020, 1, 1, tzinfo=UTC))
    change_schedule(full, "plain", next_at=datetime(2020, 1, 1, tzinfo=UTC))
    monkeypatch.delenv("PENSTOCK_KEYRING")
    without = running("dispatch").wait_for("field 'card' is sealed, and must be sealed for each job")
    until(lambda: schedule_of(full, "plain").last_tick is not None, what="the other schedule to fire")
    assert schedule_of(full, "rent").last_tick is None
    refused = penstock("schedules", "run", "rent")
    assert (refused.code, "set PENSTOCK_KEYRING where ticks fire" in refused.error) == (2, True)
    monkeypatch.setenv("PENSTOCK_KEYRING", KEYRING)
    having = running("dispatch")
    until(lambda: schedule_of(full, "rent").last_tick is not None, timeout_seconds=30, what="the tick to fire")
    assert [dispatcher.stop() for dispatcher in (without, having)] == [0, 0]


def test_a_worker_declares_its_schedules_and_runs_their_jobs(
    running: Starter, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Embedded: one process has it all."""
    monkeypatch.setenv("PENSTOCK_DATABASE_URL", sqlite_url)
    with Ledger(sqlite_url).session() as session:
        worker = running("worker", "--jobs", MODULE, "--metrics-port", "0").wait_for(f"{FROM_CODE}: is new")
        change_schedule(session, FROM_CODE, next_at=datetime(2020, 1, 1, tzinfo=UTC))

        def completed() -> bool:
            found = list_jobs(session, type=FROM_CODE)
            return bool(found) and all(job["state"] == "completed" for job in found)

        until(completed, timeout_seconds=30, what="the job of the tick")
        assert worker.stop() == 0


def test_two_dispatchers_make_one_job_of_a_tick(running: Starter, full: Session, migrated_database_url: str) -> None:
    """Over RabbitMQ, without any worker or code near them."""
    start(full, declared("0 0 1 1 *", missed="all"))
    dispatchers = [running("dispatch"), running("dispatch")]
    for dispatcher in dispatchers:
        dispatcher.wait_for('"event": "dispatching"')
    for year in (2020, 2021, 2022):
        change_schedule(full, NAME, missed="one", next_at=datetime(year, 1, 1, tzinfo=UTC), last_tick=None)
        until(lambda: schedule_of(full).last_tick is not None, what="the tick to be dealt with")
    assert len(list_jobs(full, type="demo.report")) == 1

    def is_dispatched() -> bool:
        [job] = list_jobs(full, type="demo.report")
        return job["dispatched_at"] is not None

    until(is_dispatched, timeout_seconds=20, what="the job on its way to the broker")
    assert [dispatcher.stop() for dispatcher in dispatchers] == [0, 0]
