"""A relay as a process of its own, with its metrics and its health. It runs without the ledger and without Dramatiq."""

import signal
from contextlib import AbstractContextManager, nullcontext

import structlog

from penstock.console import logs
from penstock.console.exits import bad_input
from penstock.console.surroundings import check_log_level, check_port
from penstock.ledger.failpoints import warn_if_armed
from penstock.producers.client.endpoint import Endpoint
from penstock.producers.outbox.address import check_url, open_store
from penstock.producers.outbox.metrics import RelayMetrics
from penstock.producers.outbox.relay import Relay
from penstock.producers.outbox.settings import RelaySettings
from penstock.producers.outbox.store import Store
from penstock.producers.status_server import StatusServer
from penstock.producers.stop_signals import stop_on_signals


def run_relay(*, database_url: str | None, broker_url: str | None, batch_rows: int, metrics_port: int | None) -> None:
    """Run until it is told to stop."""
    settings = RelaySettings()
    url = checked_outbox_url(database_url)
    broker = _checked_broker_url(broker_url or settings.broker_url)
    check_log_level(settings.log_level)
    check_port(settings.metrics_host, metrics_port)
    open_store(url).close()  # what is wrong from the start is said now, and not tried again for ever
    logs.configure(settings.log_level)
    log = structlog.get_logger()
    warn_if_armed(log)
    metrics = RelayMetrics()
    relay = Relay(
        open_store=lambda: open_store(url), broker_url=broker, metrics=metrics, log=log, batch_rows=batch_rows
    )
    stop_on_signals(relay.request_stop, signal.SIGTERM, signal.SIGINT, again_ends=True)
    server: AbstractContextManager[object] = nullcontext()
    if metrics_port is not None:
        address = (settings.metrics_host, metrics_port)
        server = StatusServer(address=address, registry=metrics.registry, judge=lambda _: _judged(relay), log=log)
    with server:
        log.info("relaying")
        relay.run()
    log.info("relaying stopped")


def opened_outbox(database_url: str | None) -> Store:
    """The outbox that the option or the environment names."""
    return open_store(checked_outbox_url(database_url))


def checked_outbox_url(option: str | None) -> str:
    """The URL of the service's database; refused without it in the text."""
    url = option or RelaySettings().outbox_database_url
    if url is None:
        raise bad_input("--database-url or PENSTOCK_OUTBOX_DATABASE_URL must name the database that has the outbox")
    try:
        check_url(url)
    except ValueError as error:
        raise bad_input(f"--database-url: {error}") from None
    return url


def _judged(relay: Relay) -> tuple[bool, str]:
    passes = relay.is_healthy
    return passes, f"the relay {'passes' if passes else 'does not pass'}"


def _checked_broker_url(url: str | None) -> str:
    if url in (None, "local"):
        raise bad_input("--broker-url or PENSTOCK_BROKER_URL must name RabbitMQ: a relay publishes to nothing else")
    try:
        Endpoint.read(str(url), name="penstock-relay")
    except ValueError as error:
        raise bad_input(f"--broker-url: {error}") from None
    return str(url)
