"""What `docker-compose.yml` starts, as processes of this machine: RabbitMQ, Penstock's own, Prometheus."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import yaml
from tests.deploy.files import DEPLOY, REPOSITORY, read_yaml
from tests.servers.leash import Leashed
from tests.servers.ports import free_port
from tests.servers.prometheus import PrivatePrometheus, Programs
from tests.servers.rabbitmq import PrivateRabbitMQ
from tests.waiting import until
from tests.workers.pool import RunningPool
from tests.workers.sink import VARIABLE
from tests.workers.site import Site

from penstock.producers.outbox import enqueue
from penstock.producers.outbox.address import create_outbox
from penstock.schemas import Job

SCRAPE_SECONDS = 1
# So that what takes minutes in production takes seconds here.
CONSTANTS = {"pulse.CANCEL_GRACE_SECONDS": 0.5}


@dataclass(frozen=True, kw_only=True)
class Stack:
    """All of it, running."""

    site: Site
    pool: RunningPool
    prometheus: PrivatePrometheus
    gateway: httpx.Client
    ports: dict[str, int]
    """where each of our processes serves its metrics"""

    def submit(self, name: str, *, key: str | None = None) -> httpx.Response:
        """Submit a note over HTTP."""
        headers = {} if key is None else {"Idempotency-Key": key}
        return self.gateway.post("/v1/jobs", json={"type": "test.note", "payload": {"name": name}}, headers=headers)

    def enqueue(self, job: Job) -> str:
        """Put a job into the outbox, as a service does."""
        with psycopg.connect(self.site.database_url.replace("+psycopg", "")) as connection:
            return enqueue(connection, job)

    def metrics(self, name: str) -> str:
        """What a process serves."""
        return httpx.get(f"http://127.0.0.1:{self.ports[name]}/metrics").text


@contextmanager
def running_stack(*, site: Site, rabbitmq: PrivateRabbitMQ, programs: Programs, folder: Path) -> Iterator[Stack]:
    """Start everything, and end it in the opposite order."""
    options: dict[str, Any] = {"constants": CONSTANTS, "with_dispatcher": False, "grace_seconds": 0.5}
    http_port = free_port()
    serve = ("serve", "--jobs", "tests.workers.jobs", "--port", str(http_port), "--no-auth")
    create_outbox(site.database_url)
    with ExitStack() as opened:
        pool = opened.enter_context(site.pool(**options))
        ports = {"pool": pool.metrics_port}
        for words in (("dispatch",), serve, ("relay",)):
            ports[words[0]] = opened.enter_context(served(site, folder, *words))
        targets = {
            "penstock": [f"127.0.0.1:{port}" for port in ports.values()],
            "rabbitmq": [f"127.0.0.1:{rabbitmq.prometheus_port}"],
            "rabbitmq-queues": [f"127.0.0.1:{rabbitmq.prometheus_port}"],
        }
        prometheus = opened.enter_context(
            PrivatePrometheus(programs, configuration(folder / "prometheus.yml", targets))
        )
        gateway = opened.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{http_port}", timeout=10))
        yield Stack(site=site, pool=pool, prometheus=prometheus, gateway=gateway, ports=ports)


@contextmanager
def served(site: Site, folder: Path, *words: str) -> Iterator[int]:
    """A command that runs until it is stopped; gives the port of its metrics."""
    port = free_port()
    settings = {
        "PENSTOCK_DATABASE_URL": site.database_url,
        "PENSTOCK_OUTBOX_DATABASE_URL": site.database_url,
        "PENSTOCK_BROKER_URL": site.broker_url,
        "PENSTOCK_STATE_DIR": str(folder / words[0]),
        VARIABLE: str(site.sink.path),
    }
    log = folder / f"{words[0]}.log"
    process = Leashed(
        [sys.executable, "-m", "penstock.console", *words, "--metrics-port", str(port)],
        folder=REPOSITORY,
        log=log,
        environment=os.environ | settings,
    )
    try:
        until(lambda: "metrics and health" in log.read_text(), timeout_seconds=30, what=words[0])
        yield port
    finally:
        process.stop(signal.SIGTERM)


def configuration(file: Path, targets: dict[str, list[str]]) -> Path:
    """`deploy/prometheus/prometheus.yml` with addresses of this machine, scraped every second."""
    deployed = read_yaml(DEPLOY / "prometheus" / "prometheus.yml")
    deployed["global"] = {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": f"{SCRAPE_SECONDS}s"}
    deployed["rule_files"] = [str(DEPLOY / "prometheus" / name) for name in deployed["rule_files"]]
    jobs = [job for job in deployed["scrape_configs"] if job["job_name"] in targets]
    assert len(jobs) == len(targets)
    for job in jobs:
        del job["dns_sd_configs" if "dns_sd_configs" in job else "static_configs"]
        job.pop("relabel_configs", None)
        job["static_configs"] = [
            {"targets": [target], "labels": {"service": f"service-{number}"}}
            for number, target in enumerate(targets[job["job_name"]])
        ]
    deployed["scrape_configs"] = jobs
    file.write_text(yaml.safe_dump(deployed), encoding="utf-8")
    return file
