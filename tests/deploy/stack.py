"""What `docker-compose.yml` starts, as processes of this machine: RabbitMQ, a pool, a dispatcher, Prometheus."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tests.deploy.files import DEPLOY, REPOSITORY, read_yaml
from tests.servers.leash import Leashed
from tests.servers.ports import free_port
from tests.servers.prometheus import PrivatePrometheus, Programs
from tests.servers.rabbitmq import PrivateRabbitMQ
from tests.waiting import until
from tests.workers.pool import RunningPool
from tests.workers.site import Site

SCRAPE_SECONDS = 1
# So that what takes minutes in production takes seconds here.
CONSTANTS = {"pulse.CANCEL_GRACE_SECONDS": 0.5}


@dataclass(frozen=True, kw_only=True)
class Stack:
    """All of it, running."""

    site: Site
    pool: RunningPool
    prometheus: PrivatePrometheus


@contextmanager
def running_stack(*, site: Site, rabbitmq: PrivateRabbitMQ, programs: Programs, folder: Path) -> Iterator[Stack]:
    """Start everything, and end it in the opposite order."""
    options: dict[str, Any] = {"constants": CONSTANTS, "with_dispatcher": False, "grace_seconds": 0.5}
    with site.pool(**options) as pool, dispatching(site, folder) as port:
        targets = {
            "penstock": [f"127.0.0.1:{pool.metrics_port}", f"127.0.0.1:{port}"],
            "rabbitmq": [f"127.0.0.1:{rabbitmq.prometheus_port}"],
            "rabbitmq-queues": [f"127.0.0.1:{rabbitmq.prometheus_port}"],
        }
        with PrivatePrometheus(programs, configuration(folder / "prometheus.yml", targets)) as prometheus:
            yield Stack(site=site, pool=pool, prometheus=prometheus)


@contextmanager
def dispatching(site: Site, folder: Path) -> Iterator[int]:
    """`penstock dispatch`; gives the port of its metrics."""
    port = free_port()
    settings = {
        "PENSTOCK_DATABASE_URL": site.database_url,
        "PENSTOCK_BROKER_URL": site.broker_url,
        "PENSTOCK_STATE_DIR": str(folder / "dispatch"),
    }
    log = folder / "dispatch.log"
    process = Leashed(
        [sys.executable, "-m", "penstock.console", "dispatch", "--metrics-port", str(port)],
        folder=REPOSITORY,
        log=log,
        environment=os.environ | settings,
    )
    try:
        until(lambda: "metrics and health" in log.read_text(), timeout_seconds=30, what="the dispatcher")
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
