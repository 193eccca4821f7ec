"""The handlers in the modules that `--jobs` names."""

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from penstock.console.exits import bad_input
from penstock.producers.ledger_producer import LedgerProducer
from penstock.schemas import ContractError
from penstock.workers import PenstockBroker, Registry, WorkerConfigurationError
from penstock.workers.entry import Entry


def loaded(modules: Sequence[str], *, database_url: str) -> Registry:
    """Import the modules as `python -m` would, with the current directory first, and collect their handlers.

    What Dramatiq actors send goes into the ledger, and from there to wherever jobs go.
    """
    if not all(modules):
        raise bad_input("--jobs names no module: give a dotted module name, like app.jobs")
    here = os.getcwd()  # noqa: PTH109 - an entry of sys.path is text
    if here not in sys.path:
        sys.path.insert(0, here)
    broker = PenstockBroker(outlet=LedgerProducer(database_url))
    try:
        return Registry.load(modules, broker=broker)
    except (WorkerConfigurationError, ContractError):
        raise
    except (Exception, SystemExit) as error:
        raise bad_input(f"--jobs {', '.join(modules)}: the import failed: {_told(error)}") from error


def entry_for(
    registry: Registry, job_type: str, *, modules: Sequence[str], version: int | None, queue: str | None
) -> Entry:
    """The handler that a job is meant for: of the version asked for, else of the newest."""
    versions = {entry.contract.version: entry for entry in registry if job_type in entry.contract.names}
    if not versions:
        known = ", ".join(sorted({entry.contract.type for entry in registry}))
        raise bad_input(f"{job_type}: --jobs {', '.join(modules)} has no handler for it; it has {known}")
    wanted = max(versions) if version is None else version
    if wanted not in versions:
        known = ", ".join(map(str, sorted(versions)))
        raise bad_input(f"--version {wanted}: {job_type} is handled in version {known}")
    entry = versions[wanted]
    if queue not in (None, entry.contract.queue):
        raise bad_input(f"--queue {queue}: the contract of {job_type} says {entry.contract.queue}; leave it out")
    return entry


def _told(error: BaseException) -> str:
    """The error in one line, with the place in the user's code."""
    if isinstance(error, SyntaxError):
        return f"{error.msg} ({Path(error.filename or '').name}:{error.lineno})"
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"
