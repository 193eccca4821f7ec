"""`make demo`: it ends by itself, its balance is the truth, and nothing stays behind when it is cut off."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.waiting import until

REPOSITORY = Path(__file__).resolve().parents[2]
DEMO = "examples/demo.py"
SECONDS_MAX = 60.0
MARK = "DEMO_UNDER_TEST"

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, float]:
    """One run of the demo: the folder that it has left behind, what it printed, how many seconds it took."""
    folder = tmp_path_factory.mktemp("demo") / "kept"
    began = time.monotonic()
    done = run(DEMO, "--keep", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout, time.monotonic() - began


@pytest.fixture
def folder(played: tuple[Path, str, float], tmp_path: Path) -> Path:
    """A copy of that folder, to be tampered with."""
    return Path(shutil.copytree(played[0], tmp_path / "copy"))


def test_make_demo_is_what_is_tested_here() -> None:
    """The command that the README names."""
    make = subprocess.run(
        ["make", "--dry-run", "demo"], cwd=REPOSITORY, check=True, capture_output=True, text=True, timeout=30
    )
    assert make.stdout.splitlines()[-1].endswith(f"python {DEMO}")


def test_it_ends_by_itself_within_a_minute(played: tuple[Path, str, float]) -> None:
    """Without a terminal each event is one line, and there is nothing in it for a terminal."""
    _, printed, seconds = played
    assert seconds < SECONDS_MAX
    assert "\x1b" not in printed
    assert all(line == line.rstrip() for line in printed.splitlines())


def test_its_balance_is_what_the_effects_say(played: tuple[Path, str, float]) -> None:
    """Counted here once more, by another way."""
    folder, printed, _ = played
    history = [json.loads(line) for line in (folder / "history.log").read_text().splitlines()]
    published = [line for line in history if line["event"] == "published"]
    answers = [json.loads(line) for line in (folder / "mails.log").read_text().splitlines()]
    mails = [answer for answer in answers if answer["answer"] == 250]
    assert balance(printed) | {"retried": 0, "sent again": 0} == {
        "published": len(published),
        "duplicates absorbed": len(published) - len({line["job_id"] for line in published}),
        "completed": query(folder, "SELECT count(*) FROM jobs"),
        "retried": 0,
        "dead": 2,
        "replayed": 2,
        "rows": query(folder, "SELECT count(DISTINCT species || number) FROM penguins"),
        "certificates": query(folder, "SELECT count(DISTINCT species || number) FROM certificates"),
        "mails": len({answer["to"] for answer in mails}),
        "sent again": 0,
        "lost": 0,
        "done twice": 0,
    }
    assert balance(printed)["mails"] == 344
    assert balance(printed)["sent again"] == len(mails) - 344
    assert balance(printed)["retried"] >= sum(answer["answer"] == 451 for answer in answers)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DELETE FROM penguins WHERE number = 7", r"lost: row \('Adelie .*', 7\)"),
        ("UPDATE penguins SET number = 8 WHERE number = 7", r"done twice: row \('Adelie .*', 8\)"),
        ("UPDATE penguins SET mass_g = mass_g + 1 WHERE number = 7", r"lost: row \('Adelie .*', 7\)"),
        ("DELETE FROM certificates WHERE number = 7", r"lost: certificate of \('Adelie .*', 7\)"),
        ("INSERT INTO certificates SELECT * FROM certificates WHERE number = 7", "done twice: certificate of"),
        ("DELETE FROM jobs WHERE type = 'penguins.certify'", "lost: job .*, for which there is a receipt"),
        ("UPDATE jobs SET state = 'executing' WHERE type = 'penguins.certify'", "344 jobs are not completed"),
    ],
)
def test_the_judge_sees_what_is_wrong_in_the_database(folder: Path, change: str, said: str) -> None:
    """Exits with 1 and names it; nothing that the platform says of itself helps."""
    with closing(sqlite3.connect(folder / "ledger.db")) as database, database:
        database.execute(change)
    assert_wrong(folder, said)


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (lambda lines: [line for line in lines if '"adelie-7@' not in line], "lost: mail to adelie-7@"),
        (lambda lines: [*lines, lines[0].replace('"<', '"<00')], "done twice: mail to .* 2 Message-IDs"),
        (lambda lines: [*lines, lines[0].replace("@penguins", "@walrus")], "done twice: mail to .*, whom nobody wrote"),
    ],
    ids=["lost", "sent twice", "sent to a stranger"],
)
def test_the_judge_sees_what_is_wrong_in_the_mails(
    folder: Path, tamper: Callable[[list[str]], list[str]], said: str
) -> None:
    """The log of the mail server is all that counts."""
    log = folder / "mails.log"
    log.write_text("\n".join(tamper(log.read_text().splitlines())) + "\n")
    assert_wrong(folder, said)


def test_a_mail_that_came_again_must_be_on_record(folder: Path) -> None:
    """Under the same Message-ID, but the ledger knows of no interruption."""
    log = folder / "mails.log"
    with closing(sqlite3.connect(folder / "ledger.db")) as database, database:
        database.execute("DELETE FROM attempts")
    first = next(line for line in log.read_text().splitlines() if '"answer": 250' in line)
    log.write_text(log.read_text() + first + "\n")
    assert_wrong(folder, "done twice: mail to .*, 2 times and nothing on record")


def test_a_demo_whose_effects_are_wrong_fails() -> None:
    """A bug that nobody told it of: it still ends by itself, and says what has happened to whom."""
    done = run("tests/examples/hasty_demo.py")
    assert done.returncode == 1
    assert re.search(r"wrong:  lost: mail to adelie-6@", done.stdout)
    assert re.search(r"wrong:  done twice: mail to adelie-5@.*: 2 Message-IDs", done.stdout)
    assert "The balance is wrong." in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_demo_that_is_cut_off_leaves_no_process_behind(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C, a closed terminal, and even `kill -9`; nor a file, as far as anybody was left to delete it."""
    run_id = uuid.uuid4().hex
    environment = os.environ | {MARK: run_id, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, DEMO],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        assert any("certificates to write" in line for line in demo.stdout)
        assert len(processes_of(run_id)) >= 5
        demo.send_signal(number)
        demo.communicate(timeout=10)
    assert demo.returncode in (-number, 128 + number)
    if number is signal.SIGKILL:
        until(lambda: not processes_of(run_id), timeout_seconds=30, what="all processes to end")
    else:
        assert processes_of(run_id) == []
        assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists_is_not_touched(tmp_path: Path) -> None:
    """Somebody may have something in it."""
    done = run(DEMO, "--keep", tmp_path)
    assert done.returncode == 2
    assert f"--keep {tmp_path}: it exists already; name a folder that does not" in done.stderr
    assert list(tmp_path.iterdir()) == []


def run(script: str, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """A script of the repository, as the Makefile starts it."""
    return subprocess.run(
        [sys.executable, script, *map(str, arguments)],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=SECONDS_MAX + 10,
    )


def assert_wrong(folder: Path, said: str) -> None:
    """The judge says so, and with its exit status."""
    judged = run("examples/balance.py", folder)
    assert judged.returncode == 1, judged.stdout
    assert re.search(f"^wrong: {said}", judged.stdout, re.MULTILINE), judged.stdout


def balance(printed: str) -> dict[str, int]:
    """The lines of the balance: names and figures."""
    return {name: int(figure) for name, figure in re.findall(r"^  ([a-z ]+?) +(\d+)  ", printed, re.MULTILINE)}


def query(folder: Path, statement: str) -> int:
    """One number from the ledger."""
    with closing(sqlite3.connect(folder / "ledger.db")) as database:
        return int(database.execute(statement).fetchone()[0])


def processes_of(run_id: str) -> list[int]:
    """Pids of the processes that have this mark in their environment, but for those that only wait to be reaped."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{MARK}={run_id}".encode() in environment.read_bytes():
                found.append(int(environment.parent.name))
        except OSError:
            continue
    return found
