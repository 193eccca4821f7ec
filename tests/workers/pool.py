"""A real pool in a process of its own: supervisor, workers, dispatcher; stopped or killed for sure at the end."""

import json
import os
import signal
import struct
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from tests.servers.leash import tied_to_parent
from tests.servers.ports import free_port
from tests.waiting import PATIENCE_SECONDS, until
from tests.workers.sink import VARIABLE, Sink

from penstock.workers.board import Board, Page
from penstock.workers.census import KINDS

REPOSITORY = Path(__file__).resolve().parents[2]
START_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 60.0


class RunningPool:
    """`with RunningPool(...) as pool:` returns once every worker process claims and the dispatcher dispatches."""

    def __init__(
        self,
        *,
        database_url: str,
        folder: Path,
        modules: Sequence[str],
        broker_url: str = "local",
        sink: Sink | None = None,
        constants: dict[str, Any] | None = None,
        environment: dict[str, str] | None = None,
        wait: bool = True,
        **options: Any,
    ) -> None:
        """`options` are those of `Pool`; `constants` those of `run_pool`."""
        self.sink = sink or Sink(folder / "sink")
        self.name = str(options.setdefault("name", "test"))
        self.folder = folder
        self.processes = int(options.get("processes", 1))
        options.setdefault("metrics_port", free_port())
        options.setdefault("threads", 4)
        self.metrics_port = options["metrics_port"]
        self._log_path = folder / f"{self.name}-{os.urandom(4).hex()}.log"
        self._has_dispatcher = bool(options.get("with_dispatcher", True))
        self._wait = wait
        self._environment = os.environ | {VARIABLE: str(self.sink.path)} | (environment or {})
        self._arguments = {
            "database_url": database_url,
            "broker_url": broker_url,
            "modules": list(modules),
            "state_dir": str(folder / "state"),
            "constants": constants or {},
            **options,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        if self._wait:
            self.await_workers()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill_all()

    def start(self) -> None:
        """Start the supervisor."""
        command = [sys.executable, "-m", "tests.workers.run_pool", json.dumps(self._arguments)]
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*tied_to_parent(signal.SIGKILL), *command],
                cwd=REPOSITORY,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def await_workers(self, *, count: int | None = None) -> None:
        """Wait until so many worker processes (all, if not said) have started in this run."""
        wanted = self.processes if count is None else count

        def started() -> bool:
            if not self.is_running:
                raise AssertionError(f"the pool ended while it started:\n{self.log_text()}")
            workers = {line["process_id"] for line in self.logged("worker process started", lane=False)}
            if self._arguments["broker_url"] != "local":
                workers &= {line["process_id"] for line in self.logged("consuming")}
            dispatching = self.logged("dispatching") or not self._has_dispatcher
            return len(workers) >= wanted and bool(dispatching)

        until(started, timeout_seconds=START_SECONDS_MAX, what=f"{wanted} worker processes")

    @property
    def is_running(self) -> bool:
        """Whether the supervisor lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The supervisor's."""
        assert self._process is not None
        return self._process.pid

    def children(self) -> dict[int, str]:
        """The supervisor's living children: pids, and what each is (`worker`, `dispatcher`, `lane`, `monitor`)."""
        living = children_of(self.pid)
        return {page.pid: KINDS[page.kind] for page in self.pages() if page.pid in living}

    def workers(self) -> list[int]:
        """Pids of worker processes."""
        return [pid for pid, kind in self.children().items() if kind == "worker"]

    def pages(self) -> list[Page]:
        """What the board says of the processes that it knows."""
        [path] = (self.folder / "state" / "boards" / self.name).glob("*.board")
        with path.open("r+b") as file:
            _, _, pages, threads = struct.unpack("<8sIII", file.read(20))
            board = Board(path, file.fileno(), pages=pages, threads=threads)
            return [page for page in board if page.process_id is not None]

    def signal(self, number: signal.Signals, pid: int | None = None) -> None:
        """Send a signal to a child, or to the supervisor."""
        os.kill(self.pid if pid is None else pid, number)

    def stop(self, *, timeout_seconds: float = STOP_SECONDS_MAX) -> int:
        """SIGTERM, as a deployment does; returns the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout_seconds=timeout_seconds)

    def wait(self, *, timeout_seconds: float = STOP_SECONDS_MAX) -> int:
        """The exit status of the supervisor."""
        assert self._process is not None
        try:
            return self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the pool has not stopped after {timeout_seconds} s:\n{self.log_text()}") from None

    def kill_all(self) -> None:
        """SIGKILL for everything that is left of it."""
        if self._process is None:
            return
        for number in (signal.SIGKILL, signal.SIGCONT):
            try:
                os.killpg(self._process.pid, number)
            except (ProcessLookupError, PermissionError):
                break
        self._process.wait()

    def log_text(self) -> str:
        """Everything that supervisor and children wrote to stdout and stderr."""
        return self._log_path.read_text(errors="replace")

    def log(self) -> list[dict[str, Any]]:
        """The lines that are JSON."""
        found = []
        for line in self.log_text().splitlines():
            try:
                parsed = json.loads(line)
            except ValueError:
                continue
            if isinstance(parsed, dict):
                found.append(parsed)
        return found

    def logged(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """Log lines of an event, with these fields."""
        return [
            line
            for line in self.log()
            if line.get("event") == event and all(line.get(name) == value for name, value in fields.items())
        ]

    def await_log(self, event: str, *, timeout_seconds: float = PATIENCE_SECONDS, **fields: Any) -> dict[str, Any]:
        """The first such line, as soon as there is one."""
        return until(
            lambda: self.logged(event, **fields), timeout_seconds=timeout_seconds, what=f"the log line {event!r}"
        )[0]

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of one of the pool's pages; status 0 when nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples with these labels."""
        total = 0.0
        for line in self.get("/metrics")[1].splitlines():
            if line.startswith((f"{name}{{", f"{name} ")) and all(f'{k}="{v}"' in line for k, v in labels.items()):
                total += float(line.rsplit(" ", 1)[1])
        return total


def children_of(pid: int) -> list[int]:
    """Pids of the living children of a process, without those that only wait to be reaped."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = status.read_text()
        except OSError:
            continue
        state, parent = text.rpartition(")")[2].split()[:2]
        if int(parent) == pid and state != "Z":
            found.append(int(status.parent.name))
    return sorted(found)


def is_alive(pid: int) -> bool:
    """Whether a process lives and is more than a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
