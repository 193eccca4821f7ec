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


def loaded(modules: Sequence[str], *, database_url: str) -> Registry:
    """Import the modules as `python -m` would, with the current directory first, and collect their handlers.

    What Dramatiq actors send goes into the ledger, and from there to wherever jobs go.
    """
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


def _told(error: BaseException) -> str:
    """The error in one line, with the place in the user's code."""
    if isinstance(error, SyntaxError):
        return f"{error.msg} ({Path(error.filename or '').name}:{error.lineno})"
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"
