"""The services of the repository's own docker-compose.yml, under a project name of the tests."""

import shutil
import subprocess
from pathlib import Path

from tests.servers.rabbitmqctl import Rabbitmqctl

REPOSITORY = Path(__file__).resolve().parents[2]
FILE = REPOSITORY / "docker-compose.yml"
PROJECT = "penstock-tests"
START_SECONDS_MAX = 300.0


def unusable() -> str | None:
    """Why docker compose cannot be used here; None when it can."""
    if not FILE.exists():
        return "there is no docker-compose.yml"
    if shutil.which("docker") is None:
        return "docker is not installed"
    if _docker("info", seconds_max=15).returncode:
        return "no docker engine answers"
    return None if _docker("compose", "version").returncode == 0 else "docker has no compose plugin"


def up(service: str, *, port: int) -> str:
    """Start one service, wait until it is healthy, and return its address on this machine as `host:port`.

    Raises RuntimeError with what docker said.
    """
    started = _compose("up", "--detach", "--wait", service)
    address = _compose("port", service, str(port)) if started.returncode == 0 else started
    if address.returncode:
        raise RuntimeError(address.stderr.strip()[-500:])
    return address.stdout.strip().replace("0.0.0.0", "127.0.0.1")


def down(service: str) -> None:
    """Remove one service and its data."""
    _compose("rm", "--force", "--stop", "--volumes", service)


def rabbitmqctl_in(service: str) -> Rabbitmqctl:
    """That of the service's own container."""
    return Rabbitmqctl(command=["docker", *_words("exec", "-T", service, "rabbitmqctl")])


def _compose(*words: str) -> subprocess.CompletedProcess[str]:
    return _docker(*_words(*words))


def _words(*words: str) -> list[str]:
    return ["compose", "--file", str(FILE), "--project-name", PROJECT, *words]


def _docker(*words: str, seconds_max: float = START_SECONDS_MAX) -> subprocess.CompletedProcess[str]:
    command = ["docker", *words]
    try:
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=seconds_max)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"no end after {seconds_max:g} s")
