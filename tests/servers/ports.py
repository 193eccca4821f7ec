"""TCP ports of this machine."""

import socket


def free_port() -> int:
    """A port on which nobody listens now.

    Between this answer and its use somebody else can take the port; the servers then fail to start and say so.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_listening(port: int, *, host: str = "127.0.0.1", timeout_seconds: float = 1.0) -> bool:
    """Whether somebody accepts connections on `port`."""
    try:
        with socket.create_connection((host, port), timeout=timeout_seconds):
            return True
    except OSError:
        return False
