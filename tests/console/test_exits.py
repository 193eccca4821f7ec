"""How commands end: codes that mean something, one line on stderr, no traceback, no password."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import insert, text
from tests.console.command import HANDLERS, REPOSITORY, Command
from tests.ledger.samples import a_row
from tests.servers.ports import free_port

from penstock.console import opening
from penstock.ledger.database import Session
from penstock.ledger.tables import jobs
from penstock.schemas.identifiers import new_job_id

JOB = new_job_id()
ON_THE_LEDGER = [
    ("jobs", "list"),
    ("jobs", "show", JOB),
    ("jobs", "cancel", JOB),
    ("jobs", "retry", JOB),
    ("dead", "list"),
    ("dead", "show", JOB),
    ("dead", "replay", "--all", "--yes"),
    ("dead", "discard", "--all", "--yes"),
    ("quarantine", "list"),
    ("quarantine", "show", "1"),
]
ALL = [*ON_THE_LEDGER, ("migrate",), ("dispatch",), ("worker", "--jobs", HANDLERS, "--metrics-port", "0")]


def as_id(words: tuple[str, ...]) -> str:
    """A command as the name of a case, which must be the same in every run."""
    return " ".join(words).replace(JOB, "JOB")


@pytest.mark.parametrize("words", ALL, ids=as_id)
def test_a_database_that_does_not_answer_is_exit_code_3(
    words: tuple[str, ...], penstock: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line names it and the setting, without the password."""
    monkeypatch.setenv("PENSTOCK_DATABASE_URL", f"postgresql://ann:s3cret@127.0.0.1:{free_port()}/ledger")
    answer = penstock(*words)
    assert answer.code == 3
    assert "postgresql+psycopg://ann:***@127.0.0.1" in answer.error
    assert "Check PENSTOCK_DATABASE_URL" in answer.error
    assert "s3cret" not in answer.error


@pytest.mark.parametrize("words", [("publish", "demo.add", "{}"), ("rebuild", "--jobs", HANDLERS)], ids=" ".join)
def test_a_broker_that_does_not_answer_is_exit_code_3(
    words: tuple[str, ...], penstock: Command, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line names it, without the password."""
    monkeypatch.setenv("PENSTOCK_DATABASE_URL", sqlite_url)
    monkeypatch.setenv("PENSTOCK_BROKER_URL", f"amqp://ann:s3cret@127.0.0.1:{free_port()}/x")
    monkeypatch.setattr("penstock.console.publishing.TIMEOUT_SECONDS", 1.0)
    answer = penstock(*words)
    assert answer.code == 3
    assert "127.0.0.1" in answer.error
    assert "s3cret" not in answer.error


def test_a_broker_that_refuses_the_login_says_so(
    penstock: Command, broker_url: str, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 3, with what to check."""
    monkeypatch.setenv("PENSTOCK_DATABASE_URL", sqlite_url)
    address = broker_url.partition("@")[2]
    monkeypatch.setenv("PENSTOCK_BROKER_URL", f"amqp://nobody:s3cret@{address}")
    answer = penstock("rebuild")
    assert answer.code == 3
    assert "refuses the login of user 'nobody'" in answer.error


@pytest.mark.parametrize("words", ON_THE_LEDGER, ids=as_id)
def test_a_ledger_that_was_never_migrated_is_a_problem_with_its_remedy(
    words: tuple[str, ...], penstock: Command, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 1, on Postgres; and no SQLite file is made by looking at one."""
    answer = penstock(*words)
    assert answer.code == 1
    assert "there is no ledger at sqlite:///penstock.db: run `penstock migrate`" in answer.error
    monkeypatch.setenv("PENSTOCK_DATABASE_URL", database_url)
    answer = penstock(*words)
    assert answer.code == 1
    assert "run `penstock migrate`" in answer.error


def test_a_database_that_refuses_is_told_in_one_line(penstock: Command, session: Session) -> None:
    """Here a table has lost a column: the remedy is a migration."""
    session.connection.execute(text("DROP INDEX jobs_executing"))
    session.connection.execute(text("ALTER TABLE jobs DROP COLUMN process_id"))
    answer = penstock("jobs", "list")
    assert answer.code == 1
    assert "run `penstock migrate`" in answer.error


def test_a_fault_of_penstock_itself_has_a_code_of_its_own(
    penstock: Command, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line with the place; what was thrown may hold anything, so it is not repeated."""

    def stumble(_: object) -> None:
        raise KeyError("p4yload")

    monkeypatch.setattr(opening, "time_of", stumble)
    answer = penstock("jobs", "list")
    assert answer.code == 70
    assert "penstock itself failed: KeyError at test_exits.py:" in answer.error
    assert "p4yload" not in answer.error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("job",), "No such command 'job'. Did you mean 'jobs'? See `penstock --help`."),
        (("jobs", "shw"), "Did you mean 'show'? See `penstock jobs --help`."),
        (("jobs", "show"), "Missing argument 'ID'. See `penstock jobs show --help`."),
        (("jobs", "list", "--limt", "3"), "No such option: --limt"),
        (("jobs", "list", "--limit", "many"), "--limit"),
    ],
)
def test_a_slip_of_the_fingers_is_one_line_and_exit_code_2(
    words: tuple[str, ...], said: str, penstock: Command
) -> None:
    """With where the help is."""
    answer = penstock(*words)
    assert answer.code == 2
    assert said in answer.error


@pytest.mark.parametrize(
    "words",
    [
        (),
        *[(word,) for word in ("migrate", "worker", "dispatch", "publish", "jobs", "dead", "quarantine", "doctor")],
        ("rebuild",),
        *[("jobs", word) for word in ("list", "show", "cancel", "retry")],
        *[("dead", word) for word in ("list", "show", "replay", "discard")],
        *[("quarantine", word) for word in ("list", "show")],
    ],
    ids=" ".join,
)
def test_every_command_explains_itself(words: tuple[str, ...], penstock: Command) -> None:
    """On stdout, at 80 columns, with exit code 0."""
    answer = penstock(*words, "--help", width="80")
    assert (answer.code, answer.err) == (0, "")
    assert "Usage:" in answer.out
    assert max(map(len, answer.out.splitlines())) <= 80


def test_the_version_is_that_of_the_house(penstock: Command) -> None:
    """One wheel, one number."""
    assert penstock("--version").out == f"penstock {importlib.metadata.version('penstock')}\n"


def test_python_can_run_it_as_a_module() -> None:
    """`python -m penstock.console` is the same command."""
    words = [sys.executable, "-m", "penstock.console"]
    shown = subprocess.run([*words, "--version"], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert shown.stdout.startswith("penstock ")
    wrong = subprocess.run([*words, "jobs", "show"], capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stderr) == (2, "error: Missing argument 'ID'. See `penstock jobs show --help`.\n")


def test_help_imports_nothing_heavy() -> None:
    """So that it is there at once, and completion with it."""
    code = (
        "import sys; from penstock.console.main import app\n"
        "try: app(['--help'])\nexcept SystemExit: pass\n"
        "print([m for m in ('sqlalchemy', 'alembic', 'dramatiq', 'pika', 'pydantic') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "[]"


def test_a_reader_that_has_seen_enough_is_no_error(session: Session, folder: Path) -> None:
    """`penstock jobs list --json | head -1` ends quietly, however many lines are left."""
    session.connection.execute(insert(jobs), [a_row() for _ in range(2000)])
    words = f"{sys.executable} -m penstock.console jobs list --json --limit 2000 | head -1"
    shown = subprocess.run(["bash", "-c", words], capture_output=True, text=True, check=True)
    assert (len(shown.stdout.splitlines()), shown.stderr) == (1, "")


def test_the_os_user_acts_where_nobody_else_is_named(
    penstock: Command, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And an actor's name must be printable."""
    monkeypatch.delenv("PENSTOCK_ACTOR")
    monkeypatch.setenv("LOGNAME", "carol")
    penstock("jobs", "cancel", JOB)
    assert session.connection.execute(text("SELECT actor FROM audit")).scalar_one() == "carol"
    answer = penstock("jobs", "cancel", JOB, "--actor", "a\nb")
    assert answer.code == 2
    assert "--actor" in answer.error
