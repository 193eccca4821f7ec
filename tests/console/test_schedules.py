"""`penstock schedules`, and what a worker makes of the schedules in its modules."""

from datetime import UTC, datetime

import pytest
from tests.console.command import Command, Starter
from tests.schedules.jobs import NAME, declared, schedule_of, start
from tests.waiting import until

from penstock.ledger.audit import list_audit
from penstock.ledger.database import Ledger, Session
from penstock.ledger.jobs import list_jobs, show_job
from penstock.ledger.schedules import change_schedule

MODULE = "tests.console.clockwork"
FROM_CODE = "demo.add"


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
