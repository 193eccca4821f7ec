"""TCP ports of this machine."""

import itertools
import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path

# From where on the kernel gives ports to outgoing connections.
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FIRST, _LAST = 20_000, 32_000


def _ports() -> Iterator[int]:
    """All of them in any order, of which another process of the same session has others: none is drawn twice."""
    ephemeral = int(_EPHEMERAL.read_text().split()[0]) if _EPHEMERAL.exists() else _LAST
    last = min(ephemeral, _LAST) if ephemeral > _FIRST + 1_000 else _LAST
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = list(range(_FIRST + process, last, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))))
    random.SystemRandom().shuffle(ports)  # another session must not draw the same
    return itertools.cycle(ports)


_PORTS = _ports()


def free_port() -> int:
    """A port on which nobody listens now, and which no connection gets as its own while a server is away.

    Between this answer and its use somebody else can take the port; the servers then fail to start and say so.
    """
    while True:
        port = next(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def is_listening(port: int, *, host: str = "127.0.0.1", timeout_seconds: float = 1.0) -> bool:
    """Whether somebody accepts connections on `port`."""
    try:
        with socket.create_connection((host, port), timeout=timeout_seconds):
            return True
    except OSError:
        return False
