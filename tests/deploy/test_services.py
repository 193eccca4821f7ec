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
from urllib.request import urlopen

import httpx
import pytest
from examples.penguins import LOAD
from sqlalchemy import create_engine, text
from tests.deploy.files import DEPLOY, REPOSITORY, read_yaml
from tests.notifications.mailbox import Mailbox
from tests.servers.databases import Databases
from tests.servers.leash import Leashed
from tests.servers.ports import free_port
from tests.servers.rabbitmq import PrivateRabbitMQ
from tests.waiting import until

from penstock.ledger.database import Ledger
from penstock.ledger.jobs import show_job
from penstock.notifications import SendEmail
from penstock.producers import Producer
from penstock.producers.outbox import enqueue

SERVICES = read_yaml(REPOSITORY / "docker-compose.yml")["services"]
ONCE = ("migrate", "outbox")
RUNNING = ("dispatcher", "notifications", "pipelines", "gateway", "relay")
# The ports that each has to itself in its container.
PORT, HTTP_PORT = "9394", "8080"
DOCKERFILE = (DEPLOY / "docker" / "Dockerfile").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Service:
    """One that runs, on a port of this machine."""

    process: Leashed
    port: int
    http_port: int
    log: Path


@pytest.fixture(scope="module")
def addresses(rabbitmq: PrivateRabbitMQ, databases: Databases) -> Iterator[dict[str, str]]:
    """What stands for the other services here."""
    url = databases.create()
    with Mailbox() as mailbox:
        yield {
            "PENSTOCK_DATABASE_URL": url,
            "PENSTOCK_OUTBOX_DATABASE_URL": url,
            "PENSTOCK_BROKER_URL": rabbitmq.url,
            "PENSTOCK_SMTP_URL": mailbox.url,
            "PENSTOCK_PIPELINE_DIR": str(REPOSITORY / "examples" / "data"),
            "PENSTOCK_METRICS_HOST": "127.0.0.1",
        }
    databases.drop(url)


@pytest.fixture(scope="module")
def services(addresses: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Service]]:
    """All of them, after those that run once."""
    folder = tmp_path_factory.mktemp("services")
    for name in ONCE:
        run(name, addresses, folder, *SERVICES[name]["command"])
    with ExitStack() as stack:
        started = {name: start(name, addresses, folder) for name in RUNNING}
        for service in started.values():
            stack.callback(service.process.stop, signal.SIGKILL)
        yield started


def run(name: str, addresses: dict[str, str], folder: Path, *words: str) -> str:
    """What a command prints that runs once, with the settings of a service."""
    done = subprocess.run(
        [sys.executable, "-m", "penstock.console", *words],
        env=environment(name, addresses, folder),
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def start(name: str, addresses: dict[str, str], folder: Path) -> Service:
    """As compose does, on a port of its own."""
    port, http_port = free_port(), free_port()
    here = {PORT: str(port), HTTP_PORT: str(http_port)}
    words = [here.get(word, word) for word in SERVICES[name]["command"]]
    log = folder / f"{name}.log"
    process = Leashed(
        [sys.executable, "-m", "penstock.console", *words],
        folder=folder,
        log=log,
        environment=environment(name, addresses, folder),
    )
    return Service(process, port, http_port, log)


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
    except OSError:
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


def test_what_the_gateway_and_the_outbox_take_in_is_run(
    services: dict[str, Service], addresses: dict[str, str], tmp_path: Path
) -> None:
    """With a key that is made while the gateway runs, and a relay that knows no ledger."""
    for service in services.values():
        until(lambda service=service: is_ready(service), timeout_seconds=30, what="all to be ready")  # type: ignore[misc]
    words = ("keys", "create", "me", "--scope", "publish:*", "--scope", "read:*", "--json")
    key = json.loads(run("gateway", addresses, tmp_path, *words))["key"]
    url = f"http://127.0.0.1:{services['gateway'].http_port}/v1/jobs?wait=20s"
    mail = {"to": "ann@example.org", "subject": "Hello", "text": "over HTTP"}
    answer = httpx.post(
        url,
        json={"type": "notifications.email", "payload": mail},
        headers={"Authorization": f"Bearer {key}"},
        timeout=30,
    )
    assert (answer.status_code, answer.json()["job"]["state"]) == (202, "completed"), answer.text
    engine = create_engine(addresses["PENSTOCK_OUTBOX_DATABASE_URL"])
    with engine.begin() as connection:
        job_id = enqueue(connection, SendEmail(to="bob@example.org", subject="Hello", text="from the outbox"))
    engine.dispose()
    with Ledger(addresses["PENSTOCK_DATABASE_URL"]).session() as session:

        def state() -> str | None:
            job = show_job(session, job_id)
            return None if job is None else str(job["state"])

        until(lambda: state() == "completed", timeout_seconds=30, what="the job of the outbox")


def test_every_service_ends_in_order_when_it_is_told_to(services: dict[str, Service]) -> None:
    """Long before compose would lose its patience; this test comes last."""
    for service in services.values():
        service.process.stop(signal.SIGTERM, timeout_seconds=30)
    last = [service.log.read_text().splitlines()[-1] for service in services.values()]
    ends = ("pool stopped", "dispatching stopped", "gateway stopped", "relaying stopped")
    assert [line for line in last if not any(end in line for end in ends)] == []
