"""The inline worker, step by step: what is due is run when a test says so, and a retry when it asks for it."""

from typing import Any

from penstock.ledger.jobs import hurry_job
from penstock.schemas import Job, Keyring
from penstock.workers.testing import InlineWorker


class OneWorker(InlineWorker):
    """Handlers are functions that `@handler` has tagged."""

    def __init__(self, url: str, handlers: Any, *, keyring: Keyring | None = None) -> None:
        super().__init__(handlers, url=url, keyring=keyring)

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
        assert hurry_job(self.session, job_id, actor="test")
        self.run_due()
        return self.show(job_id)
