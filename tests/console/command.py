"""The `penstock` command under test: within this process, or as a process of its own."""

import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest
from tests.waiting import until
from typer.testing import CliRunner

from penstock.console.main import app

REPOSITORY = Path(__file__).resolve().parents[2]
HANDLERS = "tests.console.handlers"
WIDTH = "100"


@dataclass(frozen=True)
class Answer:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document of `--json`."""
        return json.loads(self.out)

    @property
    def documents(self) -> list[Any]:
        """The JSON documents of a list, one on each line."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> str:
        """The one line on stderr."""
        [line] = self.err.splitlines()
        assert line.startswith("error: ")
        return line.removeprefix("error: ")


class Command:
    """Call it with the words of a command line."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def __call__(self, *words: str, stdin: str | None = None, width: str = WIDTH) -> Answer:
        """Run a command and return its answer."""
        self._monkeypatch.setenv("COLUMNS", width)
        result = CliRunner().invoke(app, list(words), input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Answer(result.exit_code, result.stdout, result.stderr)


class Running:
    """A command as a process of its own; its output goes into files."""

    def __init__(self, words: tuple[str, ...], *, stack: ExitStack) -> None:
        """Start it in the current directory; it ends with the stack at the latest."""
        self.log = Path(f"{words[0]}-{id(self)}.log")
        file = stack.enter_context(self.log.open("wb"))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "penstock.console", *words],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
        stack.callback(self.kill)

    @property
    def text(self) -> str:
        """All that it has printed so far."""
        return self.log.read_text()

    def wait_for(self, words: str) -> Self:
        """Wait until it has printed these words."""
        until(lambda: words in self.text or self.process.poll() is not None, timeout_seconds=30, what=repr(words))
        assert words in self.text, self.text
        return self

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send it a signal; returns its exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end; returns its exit code."""
        return self.process.wait(timeout=30)

    def kill(self) -> None:
        """End it and its children at once, as the loss of power would."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(timeout=10)


class Starter:
    """Call it with the words of a command line that runs until it is told to stop."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def __call__(self, *words: str) -> Running:
        """Start it."""
        return Running(words, stack=self._stack)
