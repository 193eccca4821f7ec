"""`penstock worker`."""

import json
import signal
import socket
import time
from pathlib import Path
from urllib.request import urlopen

import pytest
from tests.console.command import HANDLERS, Command, Starter
from tests.servers.ports import free_port
from tests.waiting import until
from tests.workers.amqp import consumers

from penstock.ledger.database import Ledger, Session
from penstock.ledger.jobs import show_job

QUIET = ("--metrics-port", "0")
STARTED = '"event": "worker process started"'


def state(session: Session, job_id: str) -> str:
    """The state of a job."""
    job = show_job(session, job_id)
    return "unseen" if job is None else str(job["state"])


def test_embedded_from_nothing_to_a_completed_job(penstock: Command, running: Starter) -> None:
    """Publish, start a worker, and it is done; one line says what embedded mode is for."""
    job_id = penstock("publish", "demo.once", "{}", "--jobs", HANDLERS, "--json").document["job_id"]
    worker = running("worker", "--jobs", HANDLERS, *QUIET).wait_for(STARTED)
    show = ("jobs", "show", job_id, "--json")
    until(lambda: penstock(*show).document["state"] == "completed", what="the job to complete")
    assert worker.stop() == 0
    assert "embedded mode: the ledger is the file penstock.db; it is durable, and for one host only" in worker.text


def test_on_rabbitmq_from_published_to_completed(
    penstock: Command, running: Starter, full: Session, broker_url: str
) -> None:
    """The worker declares its queues; what is published through the broker runs."""
    worker = running("worker", "--jobs", HANDLERS, "--threads", "2", *QUIET).wait_for(STARTED)
    publish = ("publish", "demo.add", '{"n":1,"m":2}', "--jobs", HANDLERS, "--json")
    until(lambda: consumers(broker_url, "demo"), timeout_seconds=30, what="a consumer")
    until(lambda: penstock(*publish).code == 0, what="a receipt")
    receipt = penstock(*publish).document
    assert receipt["durability"] == "broker"
    until(lambda: state(full, receipt["job_id"]) == "completed", what="the job to complete")
    assert worker.stop() == 0


def test_a_dead_letter_is_replayed_by_a_running_worker(penstock: Command, running: Starter) -> None:
    """It fails again, and the ledger holds two failures; no payload is in any log or list."""
    job_id = penstock("publish", "demo.fail", '{"secret":"4111-1111"}', "--jobs", HANDLERS, "--json").document["job_id"]
    worker = running("worker", "--jobs", HANDLERS, *QUIET)

    def failures() -> int:
        return len(penstock("jobs", "show", job_id, "--json").document["history"])

    until(lambda: failures() == 1, timeout_seconds=30, what="the first failure")
    assert penstock("dead", "replay", job_id, "--yes", "--json").document["replayed"] == 1
    until(lambda: failures() == 2, what="the second failure")
    assert worker.stop() == 0
    shown = penstock("jobs", "show", job_id).out + penstock("jobs", "show", job_id, "--json").out
    assert "4111-1111" not in worker.text + shown


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_within_the_grace(number: signal.Signals, penstock: Command, running: Starter) -> None:
    """Exit code 0; what ran too long goes back without using up an attempt."""
    job_id = penstock("publish", "demo.hang", "{}", "--jobs", HANDLERS, "--json").document["job_id"]
    worker = running("worker", "--jobs", HANDLERS, "--grace", "0.5", *QUIET)
    show = ("jobs", "show", job_id, "--json")
    until(lambda: penstock(*show).document["state"] == "executing", timeout_seconds=30, what="the job to run")
    began = time.monotonic()
    assert worker.stop(number) == 0
    assert time.monotonic() - began < 10
    job = penstock(*show).document
    assert (job["state"], job["attempts"]) == ("available", 0)


def test_modules_are_found_in_the_current_directory(penstock: Command, running: Starter, folder: Path) -> None:
    """As with `python -m`."""
    source = "from tests.console.handlers import once\n"
    (folder / "shop_jobs.py").write_text(source)
    running("worker", "--jobs", "shop_jobs", *QUIET).wait_for(STARTED)
    findings = [json.loads(line) for line in penstock("doctor", "--json").out.splitlines()]
    [workers] = [finding for finding in findings if finding["check"] == "workers"]
    process = workers["detail"].split()[0]
    assert process in ("1", "2")  # the suspect lane may still be looking


def test_only_the_queues_asked_for_are_served(penstock: Command, running: Starter) -> None:
    """The others wait."""
    slow = penstock("publish", "demo.hang", "{}", "--jobs", HANDLERS, "--json").document["job_id"]
    quick = penstock("publish", "demo.once", "{}", "--jobs", HANDLERS, "--json").document["job_id"]
    worker = running("worker", "--jobs", HANDLERS, "--queues", "demo, actors", "--pool", "quick", *QUIET)
    show = ("jobs", "show", quick, "--json")
    until(lambda: penstock(*show).document["state"] == "completed", timeout_seconds=30, what="the quick job")
    assert penstock("jobs", "show", slow, "--json").document["state"] == "available"
    assert worker.stop() == 0
    assert '"pool": "quick"' in worker.text


def test_metrics_and_health_are_served(running: Starter) -> None:
    """On the port asked for."""
    port = free_port()
    running("worker", "--jobs", HANDLERS, "--metrics-port", str(port)).wait_for("metrics and health")
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        assert b"penstock_processes" in answer.read()


def test_without_the_dispatcher_none_is_started(running: Starter, full: Session) -> None:
    """`--no-dispatch` leaves it to `penstock dispatch`."""
    worker = running("worker", "--jobs", HANDLERS, "--no-dispatch", *QUIET).wait_for(STARTED)
    assert worker.stop() == 0
    assert '"event": "dispatching"' not in worker.text


def test_a_ledger_without_tables_is_refused_with_the_remedy(
    penstock: Command, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Postgres nobody migrates by accident."""
    monkeypatch.setenv("PENSTOCK_DATABASE_URL", database_url)
    answer = penstock("worker", "--jobs", HANDLERS, *QUIET)
    assert answer.code == 1
    assert answer.error == "the ledger has no tables yet: run `penstock migrate`"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--jobs", "nowhere.jobs"), "no such module"),
        (("--jobs", "json"), "no handlers found"),
        (("--jobs", "twice"), "has two handlers"),
        (("--jobs", "broken"), "NameError: name 'nothing' is not defined (broken.py:2)"),
        (("--jobs", "unreadable"), "the import failed: invalid syntax (unreadable.py:1)"),
        (("--jobs", "wrong_option"), "max_attempts"),
        (("--jobs", HANDLERS, "--queues", "other"), "the handlers use actors, demo, slow"),
        (("--jobs", HANDLERS, "--queues", ","), "--queues names no queue"),
        (("--jobs", HANDLERS, "--processes", "0"), "must be between 1 and 256"),
        (("--jobs", HANDLERS, "--threads", "0"), "must be between 1 and 1000"),
        (("--jobs", HANDLERS, "--threads", "x"), "--threads"),
        (("--jobs", HANDLERS, "--pool", "../up"), "pool '../up' is not a name"),
        (("--jobs", HANDLERS, "--grace", "-1"), "--grace"),
        (("--jobs", ""), "--jobs names no module: give a dotted module name"),
        ((), "Missing option '--jobs'"),
    ],
)
def test_what_cannot_run_is_refused_in_one_line(
    words: tuple[str, ...], said: str, penstock: Command, folder: Path
) -> None:
    """Exit code 2, before anything is started or written."""
    twice = "from tests.console.handlers import *\n@handler(Add)\ndef again(job, ctx): ...\n"
    (folder / "twice.py").write_text(twice)
    (folder / "broken.py").write_text("x = 1\nnothing\n")
    (folder / "unreadable.py").write_text("def\n")
    wrong = 'from penstock.schemas import Job\nclass Bad(Job, type="demo.bad", max_attempts=0): ...\n'
    (folder / "wrong_option.py").write_text(wrong)
    answer = penstock("worker", *words, *QUIET)
    assert answer.code == 2
    assert said in answer.error
    assert not (folder / "penstock.db").exists()


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("PENSTOCK_BROKER_URL=http://guest:s3cret@here", "PENSTOCK_BROKER_URL: this is not an AMQP URL"),
        ("PENSTOCK_DATABASE_URL=mysql://root:s3cret@here/x", "use postgresql:// or sqlite://"),
        ("PENSTOCK_DATABASE_URL=no url s3cret", "PENSTOCK_DATABASE_URL is not a URL"),
        ("PENSTOCK_GRACE_SECONDS=s3cret", "PENSTOCK_GRACE_SECONDS: Input should be a valid number"),
        ("PENSTOCK_LOG_LEVEL=loud", "PENSTOCK_LOG_LEVEL 'loud' is no level"),
        ("PENSTOCK_STATE_DIR=a_file", "PENSTOCK_STATE_DIR a_file: "),
    ],
)
def test_a_setting_that_cannot_be_is_named_but_never_a_password(
    setting: str, said: str, penstock: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2."""
    (folder / "a_file").touch()
    monkeypatch.setenv(*setting.split("=", 1))
    answer = penstock("worker", "--jobs", HANDLERS, *QUIET)
    assert answer.code == 2
    assert said in answer.error
    assert "s3cret" not in answer.error


def test_a_port_that_is_taken_is_refused(penstock: Command) -> None:
    """Two pools on one host need two ports."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = penstock("worker", "--jobs", HANDLERS, "--metrics-port", str(port))
    assert answer.code == 2
    assert answer.error.startswith(f"--metrics-port {port}: cannot listen on 127.0.0.1: Address already in use;")


def test_a_killed_embedded_worker_loses_nothing(penstock: Command, running: Starter) -> None:
    """The next one runs what it had."""
    penstock("migrate")
    first = running("worker", "--jobs", HANDLERS, "--queues", "slow", *QUIET).wait_for(STARTED)
    job_id = penstock("publish", "demo.hang", "{}", "--jobs", HANDLERS, "--json").document["job_id"]
    show = ("jobs", "show", job_id, "--json")
    until(lambda: penstock(*show).document["state"] == "executing", what="the job to run")
    first.kill()
    second = running("worker", "--jobs", HANDLERS, "--grace", "0.2", *QUIET)
    with Ledger("sqlite:///penstock.db").session() as session:
        first_run = show_job(session, job_id)
        assert first_run is not None

        def runs_again() -> bool:
            job = show_job(session, job_id)
            return job is not None and job["state"] == "executing" and job["token"] != first_run["token"]

        until(runs_again, timeout_seconds=30, what="the job to run again")
    assert second.stop() == 0
