"""A worker for tests, without processes or threads: claims what is due, runs it here and now, settles it."""

import secrets
from collections.abc import Callable, Iterable
from typing import Any, Self

import structlog

from penstock.ledger import processes
from penstock.ledger.claims import claim_due
from penstock.ledger.database import Ledger
from penstock.ledger.jobs import hurry_job, show_job
from penstock.ledger.processes import Process
from penstock.ledger.settlement import Outcome, settle
from penstock.producers.ledger_producer import LedgerProducer
from penstock.schemas import Job, Keyring
from penstock.schemas.identifiers import new_job_id
from penstock.workers import PenstockBroker, Registry
from penstock.workers.execution import Executor
from penstock.workers.handler import TAG
from penstock.workers.sessions import HandlerSessions


class OneWorker:
    """Handlers are functions that `@handler` has tagged."""

    def __init__(self, url: str, handlers: Iterable[Callable[..., Any]], *, keyring: Keyring | None = None) -> None:
        self.registry = Registry(PenstockBroker())
        for function in handlers:
            self.registry.add(getattr(function, TAG), function)
        self._ledger = Ledger(url)
        self._session = self._ledger.session()
        self._sessions = HandlerSessions(self._ledger, threads=1)
        self._producer = LedgerProducer(url, keyring=keyring)
        self._process_id = new_job_id()
        processes.register(self._session, Process(self._process_id, "test", "here", 0, None, 0))
        self._executor = Executor(
            sessions=self._sessions,
            hooks=None,
            is_cancel_requested=lambda _: False,
            log=structlog.get_logger(),
            keyring=keyring,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sessions.close()
        self._session.close()

    def publish(self, job: Job, *, key: str | None = None) -> str:
        """Accept a job; returns the id that it runs under."""
        return self._producer.publish(job, key=key).job_id

    def run_due(self, *, limit: int = 1000) -> list[str]:
        """Run what is due now, each job once; returns the ids in order."""
        queues = sorted(self.registry.bindings())
        claims = claim_due(
            self._session, queues=queues, limit=limit, token=secrets.randbits(63), process_id=self._process_id
        )
        for claim in claims:
            entry = self.registry.find(claim.type, claim.version)
            assert entry is not None
            outcome = self._executor.execute(claim, entry)
            if isinstance(outcome, Outcome):
                settle(self._session, [outcome], process_id=self._process_id)
        return [claim.id for claim in claims]

    def run_all(self) -> list[str]:
        """Run until nothing is due any more; what waits for its retry goes on waiting."""
        ran: list[str] = []
        while batch := self.run_due():
            ran += batch
        return ran

    def run(self, job: Job, *, key: str | None = None) -> dict[str, Any]:
        """Publish, run what is due once, and show what became of the job."""
        job_id = self.publish(job, key=key)
        self.run_due()
        return self.show(job_id)

    def retry(self, job_id: str) -> dict[str, Any]:
        """Let a waiting job be due now, run it, and show it."""
        assert hurry_job(self._session, job_id, actor="test")
        self.run_due()
        return self.show(job_id)

    def show(self, job_id: str) -> dict[str, Any]:
        shown = show_job(self._session, job_id)
        assert shown is not None
        return shown
