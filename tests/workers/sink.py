"""What handlers did, seen from outside: an append-only file that outlives every process and counts nothing."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from tests.growing_log import written_lines
from tests.waiting import PATIENCE_SECONDS, until

VARIABLE = "PENSTOCK_TEST_SINK"
GATE_SECONDS_MAX = 120.0


def note(event: str, **fields: Any) -> None:
    """Append one line, in one write: the kernel keeps lines of different processes apart."""
    line = json.dumps({"event": event, "pid": os.getpid(), **fields}) + "\n"
    file = os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def wait_for_gate(name: str) -> None:
    """In a handler: go on when the test opens the gate."""
    until(_gate(Path(os.environ[VARIABLE]), name).exists, timeout_seconds=GATE_SECONDS_MAX, what=f"the gate {name}")


class Sink:
    """The test's view of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def events(self, event: str | None = None, **fields: Any) -> list[dict[str, Any]]:
        """All lines of one kind, with these fields."""
        return [
            line
            for line in written_lines(self.path)
            if event in (None, line["event"]) and all(line.get(name) == value for name, value in fields.items())
        ]

    def await_events(
        self, event: str, *, count: int = 1, timeout_seconds: float = PATIENCE_SECONDS, **fields: Any
    ) -> list[dict[str, Any]]:
        """The first `count` lines of a kind, as soon as there are so many."""

        def enough() -> list[dict[str, Any]]:
            found = self.events(event, **fields)
            return found if len(found) >= count else []

        return until(enough, timeout_seconds=timeout_seconds, what=f"{count} × {event} {fields}")

    def repeated(self, event: str, *, field: str = "job") -> dict[str, int]:
        """What happened more than once."""
        times = Counter(line[field] for line in self.events(event))
        return {what: count for what, count in times.items() if count > 1}

    def open_gate(self, name: str) -> None:
        """Let the handlers go on that wait there."""
        _gate(self.path, name).touch()


def _gate(sink: Path, name: str) -> Path:
    return sink.with_name(f"{sink.name}.gate-{name}")
