"""Servers for a measurement: found as the tests find them, with a clean database and virtual host for each run."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from benchmarks.processes import listener
from tests.conftest import virtual_hosts_on
from tests.servers.databases import Databases
from tests.servers.discovery import POSTGRES, RABBITMQ, find

from penstock.ledger.migrations import migrate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.virtual_hosts import OnlyTheOneGiven, VirtualHosts


class Servers(NamedTuple):
    """Where to measure. The pids are those of the servers' processes, None if they run on another machine."""

    databases: Databases
    hosts: VirtualHosts | OnlyTheOneGiven
    database_pid: int | None
    broker_pid: int | None

    def ledger(self) -> str:
        """A migrated, empty Postgres ledger."""
        return self.databases.create_migrated(migrate)

    def broker(self) -> str:
        """An empty virtual host."""
        return self.hosts.next_url()


@contextmanager
def servers() -> Iterator[Servers]:
    """Find Postgres and RabbitMQ, and clean up behind the measurement."""
    postgres, rabbitmq = find(POSTGRES), find(RABBITMQ)
    databases, hosts = Databases(url=postgres.url), virtual_hosts_on(rabbitmq)
    try:
        yield Servers(databases, hosts, _pid(postgres.url), _pid(rabbitmq.url))
    finally:
        hosts.close()
        databases.close()
        postgres.close()
        rabbitmq.close()


def _pid(url: str) -> int | None:
    address = urlsplit(url)
    is_here = address.hostname in ("127.0.0.1", "localhost", "::1")
    return listener(address.port) if is_here and address.port else None
