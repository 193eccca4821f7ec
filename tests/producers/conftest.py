"""A producer, and the queues at the other end."""

from collections.abc import Iterator

import pytest
from tests.producers.queues import AddRow, Queues

from penstock.producers import Producer


@pytest.fixture
def queues(broker_url: str) -> Iterator[Queues]:
    """A virtual host with a quorum queue for `AddRow`."""
    with Queues(broker_url) as queues:
        queues.bind(AddRow)
        yield queues


@pytest.fixture
def producer(broker_url: str) -> Iterator[Producer]:
    """A producer on the same virtual host."""
    with Producer(broker_url, app_id="tests") as producer:
        yield producer
