"""A ledger, perhaps a broker, a sink, and the pools that a test starts on them."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sqlalchemy import text
from tests.waiting import PATIENCE_SECONDS, until
from tests.workers.pool import RunningPool
from tests.workers.sink import Sink

from penstock.ledger import jobs as ledger_jobs
from penstock.ledger.database import Ledger, Session
from penstock.producers.client import Producer, Receipt
from penstock.producers.ledger_producer import LedgerProducer
from penstock.schemas import Job

ENDED = ("completed", "dead", "cancelled")


class Site:
    """What a pool runs on. `running` is the pool that was started last."""

    def __init__(self, database_url: str, broker_url: str, folder: Path) -> None:
        self.database_url = database_url
        self.broker_url = broker_url
        self.folder = folder
        self.sink = Sink(folder / "sink")
        self.ledger = Ledger(database_url)
        self._opened = ExitStack()
        self._session: Session | None = None
        self._producer: Producer | LedgerProducer | None = None
        self.running: RunningPool

    @property
    def has_broker(self) -> bool:
        """Whether jobs come over RabbitMQ."""
        return self.broker_url != "local"

    def pool(self, *, modules: list[str] | None = None, **options: Any) -> RunningPool:
        """A pool with the handlers of these modules, to be entered with `with`."""
        given = {"database_url": self.database_url, "broker_url": self.broker_url, "folder": self.folder}
        self.running = RunningPool(
            **{**given, "modules": modules or ["tests.workers.jobs"], "sink": self.sink, **options}
        )
        return self.running

    @property
    def session(self) -> Session:
        """A session of the test's own."""
        if self._session is None:
            self._session = self._opened.enter_context(self.ledger.session())
        return self._session

    @property
    def producer(self) -> Producer | LedgerProducer:
        """The way in that fits the transport."""
        if self._producer is None:
            if self.has_broker:
                self._producer = self._opened.enter_context(Producer(self.broker_url))
            else:
                self._producer = self._opened.enter_context(LedgerProducer(self.database_url))
        return self._producer

    def publish(self, job: Job, **options: Any) -> Receipt:
        """Publish a job as a service does."""
        return self.producer.publish(job, **options)

    def run(self, job: Job, *, timeout_seconds: float = PATIENCE_SECONDS, **options: Any) -> dict[str, Any]:
        """Publish a job and return its row once it has ended."""
        return self.await_end(self.publish(job, **options).job_id, timeout_seconds=timeout_seconds)

    def job(self, job_id: str) -> dict[str, Any]:
        """A job's row with its history; empty while the ledger has not seen it."""
        return ledger_jobs.show_job(self.session, job_id) or {}

    def await_end(self, job_id: str, *, timeout_seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """A job's row once it has ended."""
        until(
            lambda: self.job(job_id).get("state") in ENDED,
            timeout_seconds=timeout_seconds,
            what=f"the end of {job_id}",
        )
        return self.job(job_id)

    def await_state(self, job_id: str, state: str, *, timeout_seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """A job's row once it is in this state."""
        until(
            lambda: self.job(job_id).get("state") == state,
            timeout_seconds=timeout_seconds,
            what=f"{job_id} to be {state}",
        )
        return self.job(job_id)

    def states(self) -> dict[str, int]:
        """Jobs by state."""
        return ledger_jobs.count_states(self.session)

    def make_effects_table(self) -> None:
        """A table of the test's own in the ledger's database, for what handlers write in transactions."""
        self.session.connection.execute(text("CREATE TABLE IF NOT EXISTS effects_of_tests (name TEXT NOT NULL)"))

    def effects(self) -> list[str]:
        """What handlers have written there."""
        query = text("SELECT name FROM effects_of_tests ORDER BY name")
        return [str(name) for name in self.session.connection.execute(query).scalars()]

    def close(self) -> None:
        """Give back sessions and connections."""
        self._opened.close()
