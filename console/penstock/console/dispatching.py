"""A caretaker as a process of its own, with its metrics and its health."""

import signal
from contextlib import AbstractContextManager, nullcontext

import structlog

from penstock.console import logs
from penstock.console.broker import checked_broker_url
from penstock.console.dispatch_health import DispatchHealth
from penstock.console.embedded import prepared, say_embedded
from penstock.console.settings import keyring_of
from penstock.console.surroundings import check_log_level, check_port, make_state_dir
from penstock.ledger.failpoints import warn_if_armed
from penstock.producers.status_server import StatusServer
from penstock.producers.stop_signals import stop_on_signals
from penstock.workers.caretaker import Caretaker
from penstock.workers.liveness import take_slot
from penstock.workers.metric_files import gathered, start_afresh
from penstock.workers.settings import WorkerSettings

NAME = "dispatch"


def run_dispatcher(*, metrics_port: int | None) -> int:
    """Run until it is told to stop; returns the exit status."""
    settings = WorkerSettings()
    broker_url = checked_broker_url(settings.broker_url)
    check_log_level(settings.log_level)
    make_state_dir(settings.state_dir)
    check_port(settings.metrics_host, metrics_port)
    say_embedded(prepared(settings.database_url))
    logs.configure(settings.log_level)
    log = structlog.get_logger()
    warn_if_armed(log)
    # Held until this process ends: two must not write the same metrics files.
    slot, _lock = take_slot(settings.state_dir, NAME)
    metrics_dir = settings.state_dir / "metrics" / slot
    start_afresh(metrics_dir)
    health = DispatchHealth(name=NAME, has_broker=settings.has_broker)
    caretaker = Caretaker(
        database_url=settings.database_url,
        broker_url=broker_url,
        metrics_dir=metrics_dir,
        slot=slot,
        page=health.page,
        keyring=keyring_of(settings.keyring),
        log=log,
    )
    stop_on_signals(caretaker.request_stop, signal.SIGTERM, signal.SIGINT, again_ends=True)
    server: AbstractContextManager[object] = nullcontext()
    if metrics_port is not None:
        address = (settings.metrics_host, metrics_port)
        server = StatusServer(
            address=address, registry=gathered(health.census, metrics_dir), judge=health.judge, log=log
        )
    with server:
        code = caretaker.run()
    log.info("dispatching stopped")
    return code
