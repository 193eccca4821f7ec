"""The programs of Prometheus, and a RabbitMQ as it is deployed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import servers_used
from tests.deploy.broker import deployed_rabbitmq
from tests.servers.errors import NoServerError
from tests.servers.prometheus import Programs, find_programs
from tests.servers.rabbitmq import PrivateRabbitMQ


@pytest.fixture(scope="session")
def programs(pytestconfig: pytest.Config) -> Programs:
    """Prometheus and promtool."""
    cache = pytestconfig.cache
    assert cache is not None
    try:
        found = find_programs(Path(cache.mkdir("prometheus")))
    except NoServerError as error:
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
    pytestconfig.stash[servers_used]["Prometheus"] = found.where
    return found


@pytest.fixture(scope="package")
def rabbitmq() -> Iterator[PrivateRabbitMQ]:
    """One with the settings, users and policies that are deployed."""
    with deployed_rabbitmq() as rabbitmq:
        yield rabbitmq
