"""What happens behind the demo's scenes: processes, publishing, counting. Nothing in here knows the story."""

import csv
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from examples.evidence import CSV, HISTORY, LEDGER, MAILS
from examples.penguins import LOAD, Certify
from examples.screen import Screen

from penstock.ledger.migrations import migrate
from penstock.producers.ledger_producer import LedgerProducer
from penstock.schemas import Job

REPOSITORY = Path(__file__).resolve().parents[1]
WAIT_SECONDS_MAX = 50.0
LOOK_SECONDS = 0.1
STOP_SECONDS_MAX = 15.0
KILL_SECONDS_MAX = 1.0


class Stage:
    """Starts what the story needs in a folder, and stops all of it on leaving."""

    def __init__(self, folder: Path, screen: Screen) -> None:
        self.folder = folder.resolve()
        self._screen = screen
        self._url = f"sqlite:///{self.folder / LEDGER}"
        self._mail_port = ""
        self._workers: subprocess.Popen[bytes] | None = None
        self._mail_server: subprocess.Popen[bytes] | None = None
        self._ends_at = time.monotonic() + WAIT_SECONDS_MAX

    def __enter__(self) -> Self:
        (self.folder / "files").mkdir()
        shutil.copy(CSV, self.folder / "files")
        migrate(self._url)
        with closing(sqlite3.connect(self.folder / LEDGER)) as database:
            database.execute("CREATE TABLE certificates (species TEXT, number INTEGER, words TEXT)")
        self._producer = LedgerProducer(self._url, app_id="demo")
        self._history = (self.folder / HISTORY).open("a", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._history.close()
        for process in (self._workers, self._mail_server):
            _stop(process, in_peace=error is None)

    def start_mail_server(self) -> None:
        command = [*_leash(), sys.executable, "-m", "examples.mail_sink", str(self.folder / MAILS)]
        (self.folder / MAILS).touch()
        self._mail_server = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, start_new_session=True)
        assert self._mail_server.stdout is not None
        self._mail_port = self._mail_server.stdout.readline().decode().strip()

    def start_workers(self, module: str, *, processes: int, threads: int) -> None:
        """`penstock worker`, as anybody would start it."""
        jobs = ["--jobs", module, "--jobs", "penstock.notifications.handlers", "--jobs", "penstock.pipelines.handlers"]
        sizes = ["--processes", str(processes), "--threads", str(threads), "--metrics-port", "0"]
        with (self.folder / "workers.log").open("ab") as log:
            self._workers = subprocess.Popen(
                [*_leash(), *_penstock("worker", *jobs, *sizes)],
                cwd=REPOSITORY,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop_workers(self) -> None:
        _stop(self._workers, in_peace=True)
        self._workers = None

    def kill_busiest_worker(self) -> tuple[int, int]:
        """SIGKILL for the process that holds most jobs; returns its pid and how many it held."""
        pid, held = self._wait_for(self._busiest)
        os.kill(pid, signal.SIGKILL)
        self._note("killed", pid=pid, held=held)
        return pid, held

    def publish_load(self) -> None:
        self._publish([(LOAD, CSV.name)])

    def publish_certificates(self, *, only: int | None = None) -> None:
        """One job for each line of the file, or for the first few."""
        with CSV.open(newline="", encoding="utf-8") as file:
            penguins = [(line["Species"], int(line["Sample Number"])) for line in csv.DictReader(file)]
        self._publish(
            [(Certify(species=species, number=number), f"{species} {number}") for species, number in penguins[:only]]
        )

    def list_dead(self) -> list[dict[str, Any]]:
        """The dead letters, as an operator lists them."""
        dead: list[dict[str, Any]] = self._ask("dead", "list", "--each", "--json")
        self._note("died", jobs=[job["id"] for job in dead])
        return dead

    def replay_dead(self) -> list[str]:
        [answer] = self._ask("dead", "replay", "--all", "--yes", "--json")
        self._note("replayed", jobs=answer["ids"])
        return list(answer["ids"])

    def wait(self, is_done: Callable[[dict[str, int]], bool]) -> None:
        """Show the counts until they are as wanted. Raises `TimeoutError`."""
        self._wait_for(lambda: is_done(self._count()))

    def wait_until_done(self) -> dict[str, int]:
        """Show the counts until no job will do anything more; returns the last ones. Raises `TimeoutError`."""
        self.wait(lambda _: self._count_open() == 0)
        return self._count()

    def _count(self) -> dict[str, int]:
        counts = {
            "rows": self._read("SELECT count(*) FROM penguins")[0][0] if self._has_table("penguins") else 0,
            "certificates": self._read("SELECT count(*) FROM certificates")[0][0],
            "mails": self._count_mails(),
        }
        self._screen.show(counts)
        return counts

    def _count_open(self) -> int:
        return int(self._read("SELECT count(*) FROM jobs WHERE state NOT IN ('completed', 'dead', 'cancelled')")[0][0])

    def _count_mails(self) -> int:
        """Message-IDs in the mail server's log."""
        written, _, _ = (self.folder / MAILS).read_text().rpartition("\n")  # the last line may be there in part
        answers = map(json.loads, written.splitlines())
        return len({answer["message_id"] for answer in answers if answer["answer"] == 250})

    def _has_table(self, name: str) -> bool:
        return bool(self._read("SELECT 1 FROM sqlite_schema WHERE name = ?", name))

    def _busiest(self) -> tuple[int, int] | None:
        found = self._read(
            "SELECT processes.pid, count(*) FROM jobs JOIN processes ON processes.id = jobs.process_id"
            " WHERE jobs.state = 'executing' GROUP BY processes.pid ORDER BY 2 DESC LIMIT 1"
        )
        return (int(found[0][0]), int(found[0][1])) if found else None

    def _read(self, statement: str, *values: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.folder / LEDGER, timeout=10)) as database:
            return database.execute(statement, values).fetchall()

    def _publish(self, jobs: Sequence[tuple[Job, str]]) -> None:
        """Publish under keys, and note the receipts where the judge will look."""
        for (job, key), receipt in zip(jobs, self._producer.publish_many(jobs), strict=True):
            self._note("published", key=f"{job.contract().type} {key}", job_id=receipt.job_id)

    def _note(self, event: str, **facts: Any) -> None:
        self._history.write(json.dumps({"event": event, **facts}) + "\n")
        self._history.flush()

    def _ask(self, *arguments: str) -> Any:
        """A `penstock` command that answers in JSON."""
        done = subprocess.run(
            _penstock(*arguments), cwd=REPOSITORY, env=self._environment(), check=True, capture_output=True, text=True
        )
        return [json.loads(line) for line in done.stdout.splitlines()]

    def _wait_for(self, look: Callable[[], Any]) -> Any:
        while time.monotonic() < self._ends_at:
            found = look()
            if found:
                return found
            if self._workers is None or self._workers.poll() is not None:
                raise RuntimeError(f"the workers have ended:\n{self._end_of_log()}")
            time.sleep(LOOK_SECONDS)
        raise TimeoutError(f"the demo takes longer than {WAIT_SECONDS_MAX:g} s:\n{self._end_of_log()}")

    def _end_of_log(self) -> str:
        return "\n".join((self.folder / "workers.log").read_text().splitlines()[-10:])

    def _environment(self) -> dict[str, str]:
        """Ours, without settings of Penstock that somebody has for other purposes."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
        return inherited | {
            "PENSTOCK_DATABASE_URL": self._url,
            "PENSTOCK_BROKER_URL": "local",
            "PENSTOCK_STATE_DIR": str(self.folder / "state"),
            "PENSTOCK_PIPELINE_DIR": str(self.folder / "files"),
            "PENSTOCK_SMTP_URL": f"smtp://127.0.0.1:{self._mail_port}",
            "PENSTOCK_SMTP_SENDER": "certificates@penguins.example",
            "PENSTOCK_ACTOR": "demo",
        }


def _penstock(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "penstock.console", *arguments]


def _stop(process: subprocess.Popen[bytes] | None, *, in_peace: bool) -> None:
    """SIGTERM, and SIGKILL for whoever does not listen; SIGKILL at once where somebody waits for us to be gone."""
    if process is None:
        return
    if in_peace:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS_MAX)
    _kill_group(process)
    if process.stdout is not None:
        process.stdout.close()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL for the process and its children; returns once they are gone, so that they write no more files."""
    ends_at = time.monotonic() + KILL_SECONDS_MAX
    with suppress(ProcessLookupError):
        while time.monotonic() < ends_at:
            os.killpg(process.pid, signal.SIGKILL)
            process.poll()
            time.sleep(0.01)
    process.wait()


def _leash() -> list[str]:
    """The words before a command that let the kernel end it with us, also when we are killed; none without setpriv."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM"] if setpriv else []
