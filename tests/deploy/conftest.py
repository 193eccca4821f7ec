"""The programs of Prometheus, and a RabbitMQ as it is deployed."""

from collections.abc import Iterator

import pytest
from tests.conftest import prometheus
from tests.deploy.broker import deployed_rabbitmq
from tests.servers.prometheus import Programs
from tests.servers.rabbitmq import PrivateRabbitMQ


@pytest.fixture(scope="session")
def programs(pytestconfig: pytest.Config) -> Programs:
    """Prometheus and promtool."""
    return prometheus(pytestconfig)


@pytest.fixture(scope="package")
def rabbitmq() -> Iterator[PrivateRabbitMQ]:
    """One with the settings, users and policies that are deployed."""
    with deployed_rabbitmq() as rabbitmq:
        yield rabbitmq
