"""Pools on each kind of transport, started once for all tests that leave them alive."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.servers.databases import Databases
from tests.servers.virtual_hosts import OnlyTheOneGiven, VirtualHosts
from tests.workers.site import Site

from penstock.ledger.migrations import migrate

TRANSPORTS = ("embedded", "small", "full")


@pytest.fixture(scope="module", params=TRANSPORTS)
def site(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    databases: Databases,
    virtual_hosts: VirtualHosts | OnlyTheOneGiven,
) -> Iterator[Site]:
    """A running pool with the handlers of `jobs`: SQLite alone, Postgres alone, Postgres with RabbitMQ."""
    yield from _site(request.param, tmp_path_factory.mktemp(request.param), databases, virtual_hosts)


@pytest.fixture(scope="module")
def full_site(
    tmp_path_factory: pytest.TempPathFactory,
    databases: Databases,
    virtual_hosts: VirtualHosts | OnlyTheOneGiven,
) -> Iterator[Site]:
    """A running pool on Postgres and RabbitMQ."""
    yield from _site("full", tmp_path_factory.mktemp("full"), databases, virtual_hosts)


@pytest.fixture
def own_site(migrated_database_url: str, broker_url: str, tmp_path: Path) -> Iterator[Site]:
    """Postgres and RabbitMQ, and no pool yet: the test starts its own and may do to it what it likes."""
    with closing(Site(migrated_database_url, broker_url, tmp_path)) as site:
        yield site


@pytest.fixture
def own_small_site(migrated_database_url: str, tmp_path: Path) -> Iterator[Site]:
    """The same without RabbitMQ."""
    with closing(Site(migrated_database_url, "local", tmp_path)) as site:
        yield site


@pytest.fixture
def own_embedded_site(sqlite_url: str, tmp_path: Path) -> Iterator[Site]:
    """The same on SQLite."""
    with closing(Site(sqlite_url, "local", tmp_path)) as site:
        yield site


@pytest.fixture(params=TRANSPORTS)
def fresh_site(request: pytest.FixtureRequest) -> Site:
    """A site of each transport, with no pool yet."""
    fixture = {"embedded": "own_embedded_site", "small": "own_small_site", "full": "own_site"}[request.param]
    site: Site = request.getfixturevalue(fixture)
    return site


def _site(transport: str, folder: Path, databases: Databases, virtual_hosts: Any) -> Iterator[Site]:
    if transport == "embedded":
        database_url = f"sqlite:///{folder / 'ledger.db'}"
        migrate(database_url)
    else:
        database_url = databases.create_migrated(migrate)
    site = Site(database_url, virtual_hosts.next_url() if transport == "full" else "local", folder)
    constants = {"pulse.CANCEL_GRACE_SECONDS": 1.0}
    with site.pool(modules=["tests.workers.jobs"], constants=constants):
        yield site
    site.close()
    if transport != "embedded":
        databases.drop(database_url)
