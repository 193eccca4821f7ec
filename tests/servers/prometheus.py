"""Prometheus and promtool: those that are installed, or Debian's, unpacked for these tests and nobody else."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Self
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

from tests.servers import debian
from tests.servers.errors import NoServerError
from tests.servers.leash import Leashed
from tests.servers.ports import free_port
from tests.servers.probes import one_line
from tests.waiting import until

START_SECONDS_MAX = 30.0
CHECK_SECONDS_MAX = 120.0
VARIABLE = "PENSTOCK_TEST_PROMETHEUS"


@dataclass(frozen=True, kw_only=True)
class Programs:
    """Where the two programs are, and `where` for the report."""

    prometheus: str
    promtool: str
    where: str

    def check(self, *words: str | Path, stdin: str = "") -> str:
        """Run promtool and return what it printed; raises AssertionError with that if it finds fault."""
        done = subprocess.run(
            [self.promtool, *map(str, words)],
            check=False,
            capture_output=True,
            text=True,
            input=stdin,
            timeout=CHECK_SECONDS_MAX,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def find_programs(folder: Path) -> Programs:
    """Those that the environment names, on the PATH, or Debian's, unpacked in `folder`; raises NoServerError."""
    named = os.environ.get(VARIABLE)
    if named:
        return _found(named, f"from {VARIABLE}") or _give_up([f"{VARIABLE} is {named}, which does not have both"])
    found = _found(None, "installed") or _found(_programs_of(folder), f"unpacked in {folder}")
    if found is not None:
        return found
    tried = [f"the environment: {VARIABLE} is not set", "installed programs: no prometheus, or no promtool"]
    reason = debian.unusable()
    if reason is None:
        try:
            debian.unpack("prometheus", folder)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            reason = one_line(error)
    tried.append(f"apt-get download prometheus: {reason or 'it does not have both programs'}")
    return _found(_programs_of(folder), "Debian's, unpacked for this session") or _give_up(tried)


def _found(path: str | None, where: str) -> Programs | None:
    prometheus, promtool = shutil.which("prometheus", path=path), shutil.which("promtool", path=path)
    return Programs(prometheus=prometheus, promtool=promtool, where=where) if prometheus and promtool else None


def _programs_of(folder: Path) -> str:
    return str(folder / "usr" / "bin")


def _give_up(tried: list[str]) -> NoReturn:
    raise NoServerError(kind="Prometheus", variable=f"{VARIABLE} to the folder of prometheus and promtool", tried=tried)


class PrivatePrometheus:
    """A Prometheus of our own: `with PrivatePrometheus(programs, configuration) as prometheus: ...`."""

    def __init__(self, programs: Programs, configuration: Path) -> None:
        self._programs = programs
        self._configuration = configuration
        self._folder = Path(tempfile.mkdtemp(prefix="penstock-prometheus-"))
        self._address = f"127.0.0.1:{free_port()}"
        self._process: Leashed | None = None

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression has now; raises AssertionError when it is none."""
        return list(self._get("query", query=expression)["result"])

    def values_of(self, label: str, series: str) -> list[str]:
        """What a variable of a dashboard may be set to."""
        answer: Any = self._get(f"label/{label}/values", **{"match[]": series})
        return [str(value) for value in answer]

    def rules(self) -> list[dict[str, Any]]:
        """Every rule with its health and its last error."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def targets(self) -> list[dict[str, Any]]:
        """What is scraped."""
        return list(self._get("targets")["activeTargets"])

    def __enter__(self) -> Self:
        words = (
            f"--config.file={self._configuration} --storage.tsdb.path={self._folder / 'data'} "
            f"--web.listen-address={self._address} --log.level=warn"
        )
        self._process = Leashed(
            [self._programs.prometheus, *words.split()], folder=self._folder, log=self._folder / "log"
        )
        try:
            until(self._answers, timeout_seconds=START_SECONDS_MAX, what="Prometheus to answer")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.stop(signal.SIGTERM)
            self._process = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.is_running(), self._process.last_words()
        try:
            with urlopen(f"http://{self._address}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _get(self, path: str, **parameters: str) -> Any:
        try:
            with urlopen(f"http://{self._address}/api/v1/{path}?{urlencode(parameters)}", timeout=30) as answer:
                return json.load(answer)["data"]
        except URLError as error:
            said = error.read().decode() if hasattr(error, "read") else str(error)
            raise AssertionError(f"{path} {parameters}: {said}") from error
