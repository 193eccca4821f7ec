"""Finding a real Postgres, RabbitMQ and Redis for the tests, or starting them.

In this order: the address in the environment, a server on its standard local port, a private server from the programs
that are installed, `docker compose`, and `apt-get install` followed by a private server. Nothing found is an error
that says what was tried: a test that needs a server never skips.
"""

import os
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any, Protocol, Self

from tests.servers import compose, debian
from tests.servers.errors import NoServerError, ServerError
from tests.servers.postgres import PrivatePostgres
from tests.servers.probes import one_line, postgres_refusal, rabbitmq_refusal, redis_refusal
from tests.servers.rabbitmq import PrivateRabbitMQ
from tests.servers.rabbitmqctl import Rabbitmqctl
from tests.servers.redis import PrivateRedis


class PrivateServer(AbstractContextManager["PrivateServer"], Protocol):
    """A server of our own."""

    @property
    def url(self) -> str:
        """Its address."""

    def start(self) -> None:
        """Start it."""

    def close(self) -> None:
        """Stop it and delete its data."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of server and how to come by it."""

    name: str
    variable: str
    """the environment variable with the address of one"""
    urls: tuple[str, ...]
    """addresses to try, with `{}` for host and port"""
    port: int
    refusal: Callable[[str], str | None]
    private: Callable[[], PrivateServer]
    service: str
    """its name in docker-compose.yml"""
    package: str
    """its name in Debian"""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A server that answers."""

    url: str
    where: str
    """for the report: where it was found"""
    rabbitmqctl: Rabbitmqctl | None = None
    """that of a RabbitMQ that is certainly the one at `url`"""
    close: Callable[[], None] = lambda: None
    """ends what we started, and only that"""

    def told(self) -> dict[str, Any]:
        """What another process needs to use it too; this one ends it."""
        return {"url": self.url, "where": self.where, "rabbitmqctl": self.rabbitmqctl and asdict(self.rabbitmqctl)}

    @classmethod
    def of_another(cls, told: dict[str, Any]) -> Self:
        """The server of the process that has told us."""
        return cls(**told | {"rabbitmqctl": told["rabbitmqctl"] and Rabbitmqctl(**told["rabbitmqctl"])})


POSTGRES = Kind(
    name="Postgres",
    variable="PENSTOCK_TEST_DATABASE_URL",
    urls=(
        "postgresql+psycopg://postgres@{}/postgres",
        "postgresql+psycopg://postgres:postgres@{}/postgres",
        "postgresql+psycopg://penstock:penstock@{}/penstock",
    ),
    port=5432,
    refusal=postgres_refusal,
    private=lambda: PrivatePostgres(durable=False),
    service="postgres",
    package="postgresql",
)
RABBITMQ = Kind(
    name="RabbitMQ",
    variable="PENSTOCK_TEST_BROKER_URL",
    urls=("amqp://guest:guest@{}/%2F", "amqp://penstock:penstock@{}/%2F"),
    port=5672,
    refusal=rabbitmq_refusal,
    private=PrivateRabbitMQ,
    service="rabbitmq",
    package="rabbitmq-server",
)
REDIS = Kind(
    name="Redis",
    variable="PENSTOCK_TEST_REDIS_URL",
    urls=("redis://{}",),
    port=6379,
    refusal=redis_refusal,
    private=PrivateRedis,
    service="redis",
    package="redis-server",
)


def find(kind: Kind) -> Found:
    """The first server of this kind that answers; raises NoServerError when there is none."""
    tried: list[str] = []
    ways = (from_environment, on_standard_port, from_programs, from_compose, from_debian)
    for way in ways:
        found = way(kind, tried)
        if found is not None:
            return found
    raise NoServerError(kind=kind.name, variable=kind.variable, tried=tried)


def from_environment(kind: Kind, tried: list[str]) -> Found | None:
    """The server that the environment names. When it does not answer, looking elsewhere would hide the mistake."""
    url = os.environ.get(kind.variable)
    if not url:
        tried.append(f"the environment: {kind.variable} is not set")
        return None
    reason = kind.refusal(url)
    if reason is not None:
        tried.append(f"the environment: {kind.variable} is set, but {reason}")
        raise NoServerError(kind=kind.name, variable=kind.variable, tried=tried)
    return Found(url=url, where=f"from {kind.variable}")


def on_standard_port(kind: Kind, tried: list[str]) -> Found | None:
    """A server that runs on this machine already."""
    return _at(f"127.0.0.1:{kind.port}", kind, tried, where=f"on the standard port {kind.port}")


def from_programs(kind: Kind, tried: list[str]) -> Found | None:
    """A private server from the programs that are installed."""
    try:
        server = kind.private()
    except ServerError as error:
        tried.append(f"installed programs: {one_line(error)}")
        return None
    try:
        server.start()
    except (ServerError, AssertionError, OSError) as error:
        server.close()
        tried.append(f"installed programs: {one_line(error)}")
        return None
    rabbitmqctl = server.rabbitmqctl if isinstance(server, PrivateRabbitMQ) else None
    return Found(url=server.url, where="private, started for this session", close=server.close, rabbitmqctl=rabbitmqctl)


def from_compose(kind: Kind, tried: list[str]) -> Found | None:
    """The service of docker-compose.yml."""
    reason = compose.unusable()
    if reason is not None:
        tried.append(f"docker compose: {reason}")
        return None
    try:
        address = compose.up(kind.service, port=kind.port)
    except RuntimeError as error:
        tried.append(f"docker compose up {kind.service}: {one_line(error)}")
        compose.down(kind.service)
        return None
    return _at(
        address,
        kind,
        tried,
        where=f"docker compose service {kind.service}",
        rabbitmqctl=compose.rabbitmqctl_in(kind.service),
        close=lambda: compose.down(kind.service),
    )


def from_debian(kind: Kind, tried: list[str]) -> Found | None:
    """A private server from programs that we install."""
    reason = debian.unusable()
    if reason is not None:
        tried.append(f"apt-get install {kind.package}: {reason}")
        return None
    try:
        debian.install(kind.package)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        tried.append(f"apt-get install {kind.package}: {one_line(error)}")
        return None
    return from_programs(kind, tried)


def _at(
    address: str,
    kind: Kind,
    tried: list[str],
    *,
    where: str,
    rabbitmqctl: Rabbitmqctl | None = None,
    close: Callable[[], None] = lambda: None,
) -> Found | None:
    for pattern in kind.urls:
        url = pattern.format(address)
        reason = kind.refusal(url)
        if reason is None:
            return Found(url=url, where=where, rabbitmqctl=rabbitmqctl, close=close)
        tried.append(f"{url}: {reason}")
    close()
    return None
