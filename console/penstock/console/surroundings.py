"""What a process that runs for long needs of its host."""

import logging
import socket
from pathlib import Path

from penstock.console import logs
from penstock.console.exits import bad_input

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def make_state_dir(folder: Path) -> None:
    """Make the folder of boards, locks and metrics."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise bad_input(f"PENSTOCK_STATE_DIR {folder}: {error.strerror}; name a folder that can be written") from None


def check_port(host: str, port: int | None) -> None:
    """Refuse a port that is taken: a monitor that cannot listen would be started again for ever."""
    if port is None:
        return
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        raise bad_input(
            f"--metrics-port {port}: cannot listen on {host}: {str(error.strerror).partition(' (')[0]}; "
            "give another port, or 0"
        ) from None


def keep_quiet() -> None:
    """For commands that answer once: what they have to say is their output, not a log."""
    logs.configure("CRITICAL", as_json=False)


def check_log_level(level: str) -> None:
    if level.upper() not in logging.getLevelNamesMapping():
        raise bad_input(f"PENSTOCK_LOG_LEVEL {level!r} is no level: use one of {', '.join(LEVELS)}")
