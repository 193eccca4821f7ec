"""Our services in docker-compose.yml, started with their own commands and settings on servers of this machine."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from examples.penguins import LOAD
from sqlalchemy import text
from tests.deploy.files import DEPLOY, REPOSITORY, read_yaml
from tests.notifications.mailbox import Mailbox
from tests.servers.databases import Databases
from tests.servers.leash import Leashed
from tests.servers.ports import free_port
from tests.servers.rabbitmq import PrivateRabbitMQ
from tests.waiting import until

from penstock.ledger.database import Ledger
from penstock.notifications import SendEmail
from penstock.producers import Producer

SERVICES = read_yaml(REPOSITORY / "docker-compose.yml")["services"]
RUNNING = ("dispatcher", "notifications", "pipelines")
# The port that each has to itself in its container.
PORT = "9394"
DOCKERFILE = (DEPLOY / "docker" / "Dockerfile").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Service:
    """One that runs, on a port of this machine."""

    process: Leashed
    port: int
    log: Path


@pytest.fixture(scope="module")
def addresses(rabbitmq: PrivateRabbitMQ, databases: Databases) -> Iterator[dict[str, str]]:
    """What stands for the other services here."""
    url = databases.create()
    with Mailbox() as mailbox:
        yield {
            "PENSTOCK_DATABASE_URL": url,
            "PENSTOCK_BROKER_URL": rabbitmq.url,
            "PENSTOCK_SMTP_URL": mailbox.url,
            "PENSTOCK_PIPELINE_DIR": str(REPOSITORY / "examples" / "data"),
            "PENSTOCK_METRICS_HOST": "127.0.0.1",
        }
    databases.drop(url)


@pytest.fixture(scope="module")
def services(addresses: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Service]]:
    """All of them, after the migration."""
    folder = tmp_path_factory.mktemp("services")
    migrated = subprocess.run(
        [sys.executable, "-m", "penstock.console", *SERVICES["migrate"]["command"]],
        env=environment("migrate", addresses, folder),
        check=False,
        capture_output=True,
        text=True,
    )
    assert migrated.returncode == 0, migrated.stderr
    with ExitStack() as stack:
        started = {name: start(name, addresses, folder) for name in RUNNING}
        for service in started.values():
            stack.callback(service.process.stop, signal.SIGKILL)
        yield started


def start(name: str, addresses: dict[str, str], folder: Path) -> Service:
    """As compose does, on a port of its own."""
    port = free_port()
    words = [str(port) if word == PORT else word for word in SERVICES[name]["command"]]
    log = folder / f"{name}.log"
    process = Leashed(
        [sys.executable, "-m", "penstock.console", *words],
        folder=folder,
        log=log,
        environment=environment(name, addresses, folder),
    )
    return Service(process, port, log)


def environment(name: str, addresses: dict[str, str], folder: Path) -> dict[str, str]:
    """What the file gives to the service, with addresses of this machine."""
    given = {key: addresses.get(key, value) for key, value in SERVICES[name]["environment"].items()}
    return {"PATH": os.environ["PATH"], **given, "PENSTOCK_STATE_DIR": str(folder / name)}


def is_ready(service: Service) -> bool:
    """Whether it says so."""
    assert service.process.is_running(), service.process.last_words()
    try:
        with urlopen(f"http://127.0.0.1:{service.port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except URLError:
        return False


@pytest.mark.parametrize("name", RUNNING)
def test_every_service_becomes_ready_and_its_probe_agrees(services: dict[str, Service], name: str) -> None:
    """The probe is the image's own line of Python."""
    service = services[name]
    until(lambda: is_ready(service), timeout_seconds=30, what=f"{name} to be ready")
    [probe] = re.findall(r"CMD (\[\"python\".*\])$", DOCKERFILE, re.MULTILINE)
    line = json.loads(probe)[2].replace(PORT, str(service.port))
    assert subprocess.run([sys.executable, "-c", line], check=False).returncode == 0


def test_a_mail_goes_out_and_a_file_is_loaded(services: dict[str, Service], addresses: dict[str, str]) -> None:
    """What the two pools are there for."""
    for service in services.values():
        until(lambda service=service: is_ready(service), timeout_seconds=30, what="all to be ready")  # type: ignore[misc]
    with Producer(addresses["PENSTOCK_BROKER_URL"]) as producer:
        mail = producer.publish(SendEmail(to="ann@example.org", subject="Hello", text="from the stack")).job_id
        producer.publish(LOAD)
    with Ledger(addresses["PENSTOCK_DATABASE_URL"]).session() as session:

        def completed() -> dict[str, int]:
            rows = session.connection.execute(
                text("SELECT type, count(*) FROM jobs WHERE state = 'completed' GROUP BY type")
            )
            return {str(job_type): count for job_type, count in rows}

        def loaded() -> int:
            return int(session.connection.execute(text("SELECT count(*) FROM penguins")).scalar_one())

        until(lambda: completed().get("pipelines.load_chunk", 0) > 30, timeout_seconds=30, what="the chunks")
        until(lambda: loaded() == 344, timeout_seconds=30, what="the rows of the last chunks")
        until(lambda: completed().get("notifications.email") == 1, timeout_seconds=30, what=f"the mail {mail}")


def test_every_service_ends_in_order_when_it_is_told_to(services: dict[str, Service]) -> None:
    """Long before compose would lose its patience; this test comes last."""
    for service in services.values():
        service.process.stop(signal.SIGTERM, timeout_seconds=30)
    last = [service.log.read_text().splitlines()[-1] for service in services.values()]
    assert [line for line in last if "pool stopped" not in line and "dispatching stopped" not in line] == []
