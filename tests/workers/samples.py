"""Claims, entries and parts of the engine for tests that need no server."""

import secrets
from typing import Any

import structlog
from structlog.testing import capture_logs

from penstock.ledger.admission import Claim
from penstock.ledger.settlement import Outcome
from penstock.schemas import Job
from penstock.schemas.identifiers import new_job_id
from penstock.workers import PenstockBroker, Registry
from penstock.workers.entry import Entry
from penstock.workers.execution import Executor, Settled
from penstock.workers.handler import TAG
from penstock.workers.hooks import Hooks


def a_claim(job: Job | None = None, **fields: Any) -> Claim:
    """A claim on a job, of type `test.note` if none is given."""
    contract = None if job is None else job.contract()
    known: dict[str, Any] = {
        "id": new_job_id(),
        "type": "test.note" if contract is None else contract.type,
        "version": 1 if contract is None else contract.version,
        "queue": "test" if contract is None else contract.queue,
        "payload": b'{"name":"x"}' if job is None else job.to_body(),
        "token": secrets.randbits(63),
    }
    return Claim(**(known | fields))


def an_entry(function: Any, *, broker: PenstockBroker | None = None) -> Entry:
    """What the engine knows of a function that `@handler` has tagged."""
    registry = Registry(broker or PenstockBroker())
    registry.add(getattr(function, TAG), function)
    [entry] = registry
    return entry


def execute(function: Any, job: Job, *, hooks: Hooks | None = None, **fields: Any) -> Outcome | Settled:
    """Run a handler that uses no database, on this thread."""
    return executor(hooks=hooks).execute(a_claim(job, **fields), an_entry(function))


def executor(*, hooks: Hooks | None = None) -> Executor:
    """An executor without a database."""
    return Executor(
        sessions=None,  # type: ignore[arg-type]
        hooks=hooks,
        is_cancel_requested=lambda _: False,
        log=structlog.get_logger(),
    )


__all__ = ["a_claim", "an_entry", "capture_logs", "execute", "executor"]
