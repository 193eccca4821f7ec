"""The board: what every thread of a pool is running, in shared memory that outlives any of its processes.

A file mapped into the supervisor and its worker processes. When a process dies, its page still says which jobs
ran and how long they were allowed to. Times are `time.monotonic()` seconds, which all processes of a host share.

Layout, per process page: a header, then one slot per thread.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# magic, format, pages, threads per page
_FILE = struct.Struct("<8sIII")
# process id (16 bytes), pid, kind, state, wants a suspect lane, healthy until, is to retire
_PAGE = struct.Struct("<16sIBBBxdB7x")
# job id (16 bytes), token, deadline, started; the flag byte is written last and cleared first
_SLOT = struct.Struct("<16sqddB7x")
_FLAG = _SLOT.size - 8
_MAGIC = b"PENSTOCK"
_FORMAT = 1

# DRAINED: nothing is left in the process but jobs that are past their deadline.
FREE, BOOTING, RUNNING, STOPPING, DRAINED = range(5)
WORKER, LANE, DISPATCHER, MONITOR = range(4)


@dataclass(frozen=True, slots=True)
class Running:
    """A job that a thread of a process is running."""

    job_id: str
    token: int
    deadline: float
    started: float


class Board:
    """The mapped file; `page(index)` is the part of one process."""

    def __init__(self, path: Path, file: int, *, pages: int, threads: int) -> None:
        self.path = path
        self.pages = pages
        self.threads = threads
        self._lock: int | None = None
        self._map = mmap.mmap(file, _size(pages, threads))

    @classmethod
    def create(cls, path: Path, *, pages: int, threads: int) -> Board:
        """A fresh board, locked for as long as this process lives."""
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.truncate(lock, _size(pages, threads))
        # Opened a second time: mmap keeps a duplicate of what it is given, which children could not close, and
        # a lock goes only with the last duplicate of the file that it was taken on.
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        board = cls(path, file, pages=pages, threads=threads)
        os.close(file)
        board._lock = lock
        _FILE.pack_into(board._map, 0, _MAGIC, _FORMAT, pages, threads)
        return board

    @classmethod
    @contextmanager
    def abandoned(cls, path: Path) -> Iterator[Board | None]:
        """A board whose supervisor is gone, locked for us; None if it is in use or cannot be read."""
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            yield None
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            head = os.pread(file, _FILE.size, 0)
            if len(head) < _FILE.size:
                yield None
                return
            magic, version, pages, threads = _FILE.unpack(head)
            if (magic, version) != (_MAGIC, _FORMAT) or os.fstat(file).st_size != _size(pages, threads):
                yield None
                return
            yield cls(path, file, pages=pages, threads=threads)
        except BlockingIOError:
            yield None
        finally:
            os.close(file)

    def release_lock(self) -> None:
        """In a forked child: the lock belongs to the supervisor, and must go with it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def page(self, index: int) -> Page:
        return Page(self._map, _FILE.size + index * _page_size(self.threads), self.threads, index)

    def __iter__(self) -> Iterator[Page]:
        return (self.page(index) for index in range(self.pages))


class Page:
    """One process on the board."""

    def __init__(self, memory: mmap.mmap, offset: int, threads: int, index: int) -> None:
        self.index = index
        self.threads = threads
        self._map = memory
        self._offset = offset
        self._slots = [offset + _PAGE.size + thread * _SLOT.size for thread in range(threads)]

    def occupy(self, process_id: str, *, pid: int, kind: int) -> None:
        for slot in self._slots:
            self._map[slot : slot + _SLOT.size] = bytes(_SLOT.size)
        _PAGE.pack_into(self._map, self._offset, uuid.UUID(process_id).bytes, pid, kind, BOOTING, 0, 0.0, 0)

    def vacate(self) -> None:
        self._map[self._offset : self._offset + _PAGE.size] = bytes(_PAGE.size)

    @property
    def process_id(self) -> str | None:
        """None for a free page."""
        identity, _, _, state, _, _, _ = self._header()
        return None if state == FREE else str(uuid.UUID(bytes=identity))

    @property
    def pid(self) -> int:
        return int(self._header()[1])

    @pid.setter
    def pid(self, pid: int) -> None:
        struct.pack_into("<I", self._map, self._offset + 16, pid)

    @property
    def kind(self) -> int:
        return int(self._header()[2])

    @property
    def state(self) -> int:
        return int(self._header()[3])

    @state.setter
    def state(self, state: int) -> None:
        self._map[self._offset + 21] = state

    @property
    def is_healthy(self) -> bool:
        """Whether the process has lately proved that it consumes."""
        return float(self._header()[5]) > time.monotonic()

    def prove_health(self, *, for_seconds: float) -> None:
        struct.pack_into("<d", self._map, self._offset + 24, time.monotonic() + for_seconds)

    @property
    def retires(self) -> bool:
        """Whether the supervisor wants this process to start nothing more."""
        return bool(self._header()[6])

    def retire(self) -> None:
        self._map[self._offset + 32] = 1

    @property
    def wants_lane(self) -> bool:
        """Whether the process has seen suspects that wait for a lane."""
        return bool(self._header()[4])

    @wants_lane.setter
    def wants_lane(self, wanted: bool) -> None:
        self._map[self._offset + 22] = wanted

    def start(self, thread: int, job_id: str, token: int, *, started: float, deadline: float) -> None:
        """A thread is about to call a handler."""
        slot = self._slots[thread]
        _SLOT.pack_into(self._map, slot, bytes.fromhex(job_id.replace("-", "")), token, deadline, started, 1)

    def finish(self, thread: int) -> None:
        self._map[self._slots[thread] + _FLAG] = 0

    def running(self) -> dict[int, Running]:
        """What runs, by thread."""
        found = {}
        for thread, slot in enumerate(self._slots):
            identity, token, deadline, started, flag = _SLOT.unpack_from(self._map, slot)
            if flag:
                found[thread] = Running(str(uuid.UUID(bytes=identity)), token, deadline, started)
        return found

    def _header(self) -> tuple[bytes, int, int, int, int, float, int]:
        return _PAGE.unpack_from(self._map, self._offset)


def _page_size(threads: int) -> int:
    return _PAGE.size + threads * _SLOT.size


def _size(pages: int, threads: int) -> int:
    return _FILE.size + pages * _page_size(threads)
