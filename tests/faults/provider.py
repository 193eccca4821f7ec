"""A provider outside of the platform: takes effects over HTTP, in a process of its own, and writes down each one.

Its log is append-only and fsynced before the answer. It never refuses a double: to find those is the judge's work.
"""

import json
import os
import signal
import sys
import threading
from collections import Counter
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from tests.growing_log import written_lines
from tests.servers.leash import Leashed
from tests.servers.ports import free_port, is_listening
from tests.waiting import until
from tests.workers.pool import REPOSITORY

VARIABLE = "PENSTOCK_TEST_PROVIDER"
TIMEOUT_SECONDS = 5.0


class Provider:
    """The test's view of it: `with Provider(folder) as provider:`."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "provider.log"
        self.log.touch()
        self.port = free_port()
        self._folder = folder
        self._process: Leashed | None = None

    @property
    def address(self) -> str:
        """For `VARIABLE` in the environment of the workers."""
        return f"127.0.0.1:{self.port}"

    def effects(self) -> list[dict[str, Any]]:
        """Every effect that it has taken, in order."""
        return [line for line in self._lines() if line["taken"]]

    def calls(self) -> int:
        """How often it was called, whatever it answered."""
        return len(self._lines())

    def times(self) -> Counter[str]:
        """How often each idempotency key has had its effect."""
        return Counter(line["key"] for line in self.effects())

    def refused(self) -> set[str]:
        """The idempotency keys that it has said no to."""
        return {line["key"] for line in self._lines() if not line["taken"]}

    def be(self, mood: str) -> None:
        """How it answers from now on: `well`, `429`, `500`, `hang up` after it has taken the effect."""
        ask(self.address, "/mood", {"mood": mood})

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.faults.provider", str(self.port), str(self.log)]
        self._process = Leashed(command, folder=REPOSITORY, log=self._folder / "provider.out")
        until(lambda: is_listening(self.port), what="the provider to listen")
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process is not None
        self._process.stop(signal.SIGKILL)

    def _lines(self) -> list[dict[str, Any]]:
        return written_lines(self.log)


def ask(address: str, path: str, document: dict[str, Any]) -> int:
    """POST a document; returns the status. Raises `OSError` or `HTTPException` when there is no answer."""
    connection = HTTPConnection(address, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("POST", path, json.dumps(document), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def serve(port: int, path: Path) -> None:
    """Take effects until killed."""
    log = os.open(path, os.O_WRONLY | os.O_APPEND)
    writing = threading.Lock()
    moods = ["well"]

    class Taker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path == "/mood":
                moods[0] = document["mood"]
                self._answer(200)
                return
            mood = moods[0]
            taken = mood in ("well", "hang up")
            with writing:
                os.write(log, (json.dumps({**document, "taken": taken}) + "\n").encode())
                os.fsync(log)
            if mood != "hang up":
                self._answer(200 if taken else int(mood))

        def _answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its signature
            """Its log is the other one."""

    ThreadingHTTPServer(("127.0.0.1", port), Taker).serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]))
