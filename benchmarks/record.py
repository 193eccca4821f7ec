"""What was measured, kept as JSON: the figures of every round, the machine, the versions."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pika
import psycopg
from benchmarks.site import fresh_site

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.rounds import Sample
    from benchmarks.servers import Servers

PACKAGES = ("penstock", "dramatiq", "pika", "psycopg", "sqlalchemy")


@dataclass(kw_only=True)
class Record:
    """Everything that a table is made of. `rounds` are the samples of each measurement by its name."""

    date: str
    commit: str
    machine: str
    versions: dict[str, str]
    rounds: dict[str, list[Sample]] = field(default_factory=dict)

    @classmethod
    def of(cls, servers: Servers, packages: Iterable[str] = ()) -> Record:
        """An empty one, of this machine, these servers and these packages beside our own."""
        return cls(
            date=datetime.now(UTC).strftime("%Y-%m-%d"),
            commit=_commit(),
            machine=_machine(),
            versions={
                "Python": platform.python_version(),
                **_versions(servers),
                **{name: version(name) for name in sorted({*PACKAGES, *packages})},
            },
        )

    @classmethod
    def read(cls, file: Path) -> Record:
        return cls(**json.loads(file.read_text()))

    def write(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self), indent=1, sort_keys=True, default=float) + "\n")


def _versions(servers: Servers) -> dict[str, str]:
    """Of Postgres and RabbitMQ, as they say themselves."""
    with fresh_site(servers) as site, psycopg.connect(site.database) as connection:
        [postgres] = connection.execute("SHOW server_version").fetchone() or ["unknown"]
        with pika.BlockingConnection(pika.URLParameters(site.broker)) as broker:
            rabbitmq = broker._impl.server_properties["version"]  # type: ignore[attr-defined]  # noqa: SLF001
    return {"Postgres": postgres.split()[0], "RabbitMQ": rabbitmq}


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _machine() -> str:
    """Processor, cores and memory."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores of {model}, {gigabytes:.0f} GB, Linux {platform.release().split('-')[0]}"
