"""Sites on servers that a test may harm."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.postgres import PrivatePostgres
from tests.servers.rabbitmq import PrivateRabbitMQ
from tests.workers.site import Site

from penstock.ledger.migrations import migrate


@pytest.fixture
def site(migrated_database_url: str, broker_url: str, tmp_path: Path) -> Iterator[Site]:
    """Postgres and RabbitMQ that stay up."""
    yield from _site(migrated_database_url, broker_url, tmp_path)


@pytest.fixture
def site_without_broker(migrated_database_url: str, tmp_path: Path) -> Iterator[Site]:
    """Postgres alone."""
    yield from _site(migrated_database_url, "local", tmp_path)


@pytest.fixture
def site_on_private_rabbitmq(
    migrated_database_url: str, private_rabbitmq: PrivateRabbitMQ, tmp_path: Path
) -> Iterator[Site]:
    """A RabbitMQ that may be wiped."""
    yield from _site(migrated_database_url, private_rabbitmq.url, tmp_path)


@pytest.fixture
def site_on_private_postgres(private_postgres: PrivatePostgres, broker_url: str, tmp_path: Path) -> Iterator[Site]:
    """A Postgres that may be stopped."""
    url = private_postgres.create_database()
    migrate(url)
    yield from _site(url, broker_url, tmp_path)


def _site(database_url: str, broker_url: str, folder: Path) -> Iterator[Site]:
    site = Site(database_url, broker_url, folder)
    site.make_effects_table()
    yield site
    site.close()
