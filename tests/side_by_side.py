"""Several processes that run the tests of one session side by side, as `pytest -n 2` starts them.

Each makes its own databases, virtual hosts and private servers; the servers in which it makes them are shared.
"""

import fcntl
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

SERVERS = "servers"


class Turnstile:
    """Lets all tests pass beside each other, but those that measure: they wait until nobody else is inside."""

    def __init__(self, folder: Path) -> None:
        """`folder` is one that all processes know."""
        self._gate, self._room = folder / "gate", folder / "room"

    @contextmanager
    def passed(self, *, alone: bool) -> Iterator[None]:
        """Inside."""
        with self._gate.open("a") as gate, self._room.open("a") as room:
            # who waits for the room to be empty lets nobody else in meanwhile
            fcntl.flock(gate, fcntl.LOCK_EX)
            fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            fcntl.flock(gate, fcntl.LOCK_UN)
            try:
                yield
            finally:
                fcntl.flock(room, fcntl.LOCK_UN)  # closing would not do, where a test has left a fork of this process


def join(config: pytest.Config) -> dict[str, Any]:
    """Begin as one of them, or as the only one; returns the servers that this process was given."""
    if not hasattr(config, "workerinput"):
        return {}
    # it came with SIGINT ignored, which whatever a test starts would inherit; a handler is not inherited
    signal.signal(signal.SIGINT, lambda *_: None)
    return dict(config.workerinput[SERVERS])


def tell(node: Any, servers: dict[str, Any]) -> None:
    """Give a process that is about to start the servers that it shares with the others."""
    node.workerinput[SERVERS] = servers


def processes(config: pytest.Config) -> int:
    """How many there are."""
    return int(getattr(config, "workerinput", {}).get("workercount", 1))


@contextmanager
def passed(item: pytest.Item) -> Iterator[None]:
    """Run a test beside those of the other processes, or alone where it is marked so."""
    if processes(item.config) == 1:
        yield
        return
    folder = Path(item.config.getoption("basetemp")).parent  # each process has its own below the one of all
    with Turnstile(folder).passed(alone=item.get_closest_marker("alone") is not None):
        yield
