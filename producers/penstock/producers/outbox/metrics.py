"""The metrics of one relay."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics

from penstock.producers.outbox.store import Lag
from penstock.schemas.version import __version__


class RelayMetrics:
    """They have a registry of their own."""

    def __init__(self) -> None:
        # Else there is a gauge beside each counter, which nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        self._rows = Gauge("penstock_outbox_rows", "Rows that are committed and not published yet", registry=registry)
        self._held = Gauge("penstock_outbox_held_rows", "Rows that no broker takes", registry=registry)
        self._oldest = Gauge(
            "penstock_outbox_oldest_seconds", "Age of the oldest row that is not held", registry=registry
        )
        self._published = Counter(
            "penstock_outbox_published", "Rows published, confirmed and deleted", registry=registry
        )
        self._failures = Counter("penstock_outbox_failures", "Publishes without a confirm", registry=registry)
        self._passed_at = Gauge(
            "penstock_relay_last_pass_timestamp_seconds",
            "When this relay last finished a pass without an error",
            registry=registry,
        )
        info = Gauge("penstock_relay_info", "Always 1; the label says what runs", ["version"], registry=registry)
        info.labels(__version__).set(1)

    def relayed(self, *, published: int, failed: int) -> None:
        self._published.inc(published)
        self._failures.inc(failed)

    def passed(self) -> None:
        self._passed_at.set(time.time())

    def lag(self, lag: Lag) -> None:
        self._rows.set(lag.waiting)
        self._held.set(lag.held)
        self._oldest.set(lag.oldest_seconds)
