"""Starting a pool: whatever would stop it later is refused here, in one line."""

from dataclasses import dataclass

import structlog

from penstock.console import logs
from penstock.console.broker import checked_broker_url
from penstock.console.embedded import prepared, say_embedded
from penstock.console.exits import bad_input
from penstock.console.modules import loaded
from penstock.console.settings import keyring_of
from penstock.console.surroundings import check_log_level, check_port, make_state_dir
from penstock.producers.schedules.declaring import declare
from penstock.schemas.contract import check_name
from penstock.workers import Pool
from penstock.workers.settings import WorkerSettings
from penstock.workers.supervisor import Supervisor


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """What the command line says; None leaves it to the settings."""

    modules: tuple[str, ...]
    pool: str
    processes: int
    threads: int
    queues: tuple[str, ...] | None
    with_dispatcher: bool
    metrics_port: int | None
    grace_seconds: float | None


def run_worker(options: WorkerOptions) -> int:
    """Run the pool until it is told to stop; returns the exit status."""
    settings = WorkerSettings()
    pool = _pool(options, settings)
    check_log_level(settings.log_level)
    registry = loaded(options.modules, database_url=settings.database_url)
    registry.require_keyring(pool.keyring)
    registry.bindings(pool.queues)  # an unknown queue is refused before the ledger is touched
    make_state_dir(settings.state_dir)
    check_port(settings.metrics_host, options.metrics_port)
    ledger = prepared(settings.database_url)
    say_embedded(ledger)
    logs.configure(settings.log_level)
    log = structlog.get_logger()
    with ledger.session() as session:
        for said in declare(session, registry.schedules, keyring=pool.keyring):
            (log.warning if said.is_trouble else log.info)("schedule", said=said.text)
    return Supervisor(pool, registry, log=log).run()


def _pool(options: WorkerOptions, settings: WorkerSettings) -> Pool:
    check_name("pool", options.pool)  # it becomes the name of a folder and a metric's label
    if options.queues is not None and not options.queues:
        raise bad_input("--queues names no queue: give names separated by commas, or leave it out")
    return Pool(
        name=options.pool,
        modules=options.modules,
        database_url=settings.database_url,
        broker_url=checked_broker_url(settings.broker_url),
        processes=options.processes,
        threads=options.threads,
        queues=options.queues,
        state_dir=settings.state_dir,
        grace_seconds=settings.grace_seconds if options.grace_seconds is None else options.grace_seconds,
        with_dispatcher=options.with_dispatcher,
        metrics_host=settings.metrics_host,
        metrics_port=options.metrics_port,
        keyring=keyring_of(settings.keyring),
    )
