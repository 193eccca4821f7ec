"""How others can tell that a process is alive: a heartbeat in the ledger, and on one host a file lock."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class FileLock:
    """An OS lock that goes with its process, however that ends.

    SQLite needs it, where a long write of somebody else would hold up a heartbeat; and a supervisor, to know which
    processes of a killed one still live. Taken before the fork it has no gap: then the child alone keeps it.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path.resolve()
        self.file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self.file)
            raise

    def hand_over(self) -> None:
        """In the parent, after the fork: from now on it is the child's."""
        os.close(self.file)
        self.file = -1

    def release(self) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self.file)
        self.file = -1


def take_slot(state_dir: Path, name: str) -> tuple[str, FileLock]:
    """The first of name-0, name-1, … that no living process of this host has, and the lock on it."""
    for number in itertools.count():
        slot = f"{name}-{number}"
        with contextlib.suppress(BlockingIOError):
            return slot, FileLock(state_dir / "locks" / f"{slot}.lock")
    raise AssertionError


def is_held(path: str) -> bool:
    """Whether a living process holds the lock."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False
