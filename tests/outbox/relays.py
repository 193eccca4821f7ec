"""Relays under test: in threads of this process."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import structlog

from penstock.producers.outbox.address import open_store
from penstock.producers.outbox.metrics import RelayMetrics
from penstock.producers.outbox.relay import Relay
from penstock.producers.outbox.store import Store


class Relaying:
    """A relay, and what it has counted."""

    def __init__(self, open_: Callable[[], Store], *, broker_url: str, batch_rows: int) -> None:
        metrics = RelayMetrics()
        self._registry = metrics.registry
        self.relay = Relay(
            open_store=open_, broker_url=broker_url, metrics=metrics, log=structlog.get_logger(), batch_rows=batch_rows
        )

    def count(self, name: str) -> float:
        """A metric's value."""
        return self._registry.get_sample_value(name) or 0.0


@contextmanager
def relaying(
    url: str,
    broker_url: str,
    *,
    relays: int = 1,
    batch_rows: int = 100,
    open_: Callable[[], Store] | None = None,
) -> Iterator[list[Relaying]]:
    """So many relays at once, stopped at the end."""
    found = [
        Relaying(open_ or (lambda: open_store(url)), broker_url=broker_url, batch_rows=batch_rows)
        for _ in range(relays)
    ]
    with ExitStack() as stack:
        for it in found:
            thread = threading.Thread(target=it.relay.run)
            thread.start()
            stack.callback(thread.join)
            stack.callback(it.relay.request_stop)
        yield found
