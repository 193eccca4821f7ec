"""A worker without processes or threads of its own: claims, runs and settles on the thread of the test."""

from __future__ import annotations

import secrets
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack

import structlog
from dramatiq.asyncio import get_event_loop_thread, set_event_loop_thread
from sqlalchemy import select

from penstock.ledger import processes
from penstock.ledger.admission import Offer, admit
from penstock.ledger.claims import claim_due
from penstock.ledger.database import Ledger
from penstock.ledger.jobs import hurry_job, show_job
from penstock.ledger.migrations import migrate
from penstock.ledger.processes import Process
from penstock.ledger.rescue import rescue_crashed
from penstock.ledger.settlement import Outcome, settle, settle_with_writes
from penstock.ledger.state import State
from penstock.ledger.tables import jobs
from penstock.ledger.transitions import Death
from penstock.ledger.writes import WriteRefused
from penstock.producers.ledger_producer import LedgerProducer
from penstock.schemas import Job, Keyring, Message
from penstock.schemas.identifiers import new_job_id
from penstock.schemas.sensitive import Seals
from penstock.workers.broker import PenstockBroker
from penstock.workers.event_loop import EventLoop
from penstock.workers.execution import Executor
from penstock.workers.handler import TAG
from penstock.workers.hooks import Hooks
from penstock.workers.registry import Registry
from penstock.workers.testing.faults import Fault, MortalSessions, refuse_unused
from penstock.workers.testing.published import Published

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from penstock.ledger.admission import Claim
    from penstock.producers.client import PublishOptions

RUNS_MAX = 1000


class InlineWorker:
    """Runs the real thing, but for processes and threads: contracts, claims, transactions, effects, retries.

    ```python
    with InlineWorker([send_invoice]) as worker:
        worker.inject(Fault.CRASH_AFTER_EFFECT)
        job_id = worker.publish(SendInvoice(number=7))
        worker.drain()
        assert worker.show(job_id)["state"] == "completed"
    ```
    `handlers` are functions that `@handler` has tagged. The ledger is an SQLite file that goes with the worker, unless
    `url` names a migrated one. `keyring` is for jobs with sensitive fields.
    """

    def __init__(
        self, handlers: Iterable[Callable[..., Any]], *, url: str | None = None, keyring: Keyring | None = None
    ) -> None:
        self._opened = ExitStack()
        self.url = url or self._make_ledger()
        self.registry = Registry(PenstockBroker())
        for function in handlers:
            self.registry.add(getattr(function, TAG), function)
        self._ledger = Ledger(self.url)
        self.session = self._opened.enter_context(self._ledger.session())
        self._sessions = MortalSessions(self._ledger, threads=1)
        self._opened.callback(self._sessions.close)
        self._faults: list[Fault] = []
        self._ran = 0
        self._process_id = ""
        self._start_process()
        self._keyring = keyring
        self.producer = LedgerProducer(self.url, keyring=keyring)
        self._executor = Executor(
            sessions=self._sessions,
            hooks=Hooks.of(self.registry.broker),
            is_cancel_requested=lambda _: False,
            log=structlog.get_logger(),
            keyring=keyring,
        )
        if self.registry.has_async:
            self._start_loop()

    def publish(self, job: Job, **options: Unpack[PublishOptions]) -> str:
        """Accept a job, with the options of `LedgerProducer.publish`; returns the id that it runs under."""
        return self.producer.publish(job, **options).job_id

    def drain(self, *, runs_max: int = RUNS_MAX) -> list[str]:
        """Run until every job has ended, without waiting for retries, snoozes and delays; returns the ids in order.

        Raises `AssertionError` when that takes more than `runs_max` runs.
        """
        ran: list[str] = []
        while batch := self.run_due() or self._hurry():
            ran += batch
            if len(ran) > runs_max:
                raise AssertionError(f"not drained after {runs_max} runs: does a handler snooze or publish for ever?")
        return ran

    def run_due(self) -> list[str]:
        """Run what is due now, each job once; returns the ids in order. A suspect runs alone."""
        claims = self._claim(suspects=True, limit=1) or self._claim(suspects=False, limit=RUNS_MAX)
        ran: list[str] = []
        process_id = self._process_id
        for claim in claims:
            if self._process_id != process_id:
                break  # it died, and what it had only claimed is free again
            ran.append(claim.id)
            self._run(claim)
        return ran

    def inject(self, fault: Fault) -> None:
        """Let it happen to the next job that comes there. Leaving the worker without that raises `AssertionError`."""
        self._faults.append(fault)

    def show(self, job_id: str) -> dict[str, Any]:
        """A job's row with its failed attempts and its effects. Raises `LookupError`."""
        shown = show_job(self.session, job_id)
        if shown is None:
            raise LookupError(f"the ledger has no job {job_id}")
        return shown

    def published_of(self, job_class: type[Job]) -> list[Published]:
        """Every job of this class or one derived from it that was accepted, also from handlers; `assert_published`."""
        columns = (jobs.c.id, jobs.c.type, jobs.c.version, jobs.c.payload, jobs.c.dedup_key, jobs.c.due_at)
        # Read as what is asked for: another test of the same run may have defined the same contract in its own way.
        known = {(it.contract().type, it.contract().version): it for it in _job_classes(job_class)}
        rows = self.session.connection.execute(select(*columns).order_by(jobs.c.id))
        return [
            Published(row.id, self._read(known[row.type, row.version], row), row.dedup_key, row.due_at)
            for row in rows
            if (row.type, row.version) in known
        ]

    def _read(self, job_class: type[Job], row: Any) -> Job:
        seals = Seals(self._keyring, row.id) if job_class.__sensitive__ else None
        return job_class.from_body(bytes(row.payload), seals)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._opened.close()
        if kind is None:
            refuse_unused(self._faults, self._ran)

    def _run(self, claim: Claim) -> None:
        entry = self.registry.find(claim.type, claim.version)
        if entry is None:
            raise LookupError(f"no handler for {claim.type} v{claim.version} was given to this worker")
        self._ran += 1
        self._sessions.dies_after_effect = Fault.CRASH_AFTER_EFFECT in self._faults
        outcome = self._executor.execute(claim, entry)
        self._sessions.dies_after_effect = False
        if self._sessions.has_died:
            self._sessions.has_died = False
            self._faults.remove(Fault.CRASH_AFTER_EFFECT)
            self._die(running=[claim.id], alone=self._is_suspect(claim))
        elif isinstance(outcome, Outcome):
            self._end(claim, outcome, at_most_once=entry.contract.guarantee == "at_most_once")
        if Fault.DUPLICATE_DELIVERY in self._faults:
            self._faults.remove(Fault.DUPLICATE_DELIVERY)
            self._deliver_again(claim)

    def _end(self, claim: Claim, outcome: Outcome, *, at_most_once: bool) -> None:
        if Fault.SETTLE_LOST in self._faults:
            self._faults.remove(Fault.SETTLE_LOST)
            # The board says "running" until the outcome is settled only where it must not run again.
            self._die(running=[claim.id] if at_most_once else [], alone=False)
        else:
            self._settle(outcome)

    def _deliver_again(self, claim: Claim) -> None:
        message = Message(id=claim.id, type=claim.type, version=claim.version, body=claim.payload, key=claim.key)
        offer = Offer(message, claim.queue, State.EXECUTING)
        admission = admit(self.session, [offer], token=secrets.randbits(63), process_id=self._process_id)
        for again in admission.claims:
            self._run(again)

    def _die(self, *, running: list[str], alone: bool) -> None:
        """What the supervisor does about a worker process that was killed, and starting another one."""
        rescue_crashed(
            self.session,
            process_id=self._process_id,
            running=running,
            death=Death.KILLED,
            alone=alone,
            how="SIGKILL",
        )
        processes.deregister(self.session, self._process_id)
        self._start_process()

    def _start_process(self) -> None:
        self._process_id = new_job_id()
        processes.register(self.session, Process(self._process_id, "inline", "here", 0, None, 0))

    def _claim(self, *, suspects: bool, limit: int) -> list[Claim]:
        """The jobs that are due longest."""
        return claim_due(
            self.session,
            queues=sorted(self.registry.bindings()),
            limit=limit,
            token=secrets.randbits(63),
            process_id=self._process_id,
            suspects=suspects,
        )

    def _settle(self, outcome: Outcome) -> None:
        if outcome.writes is not None:
            with self._ledger.writing_session() as session:
                try:
                    settle_with_writes(session, [outcome], process_id=self._process_id)
                except WriteRefused as refusal:
                    outcome = outcome.writes.refused(refusal.error)
                else:
                    return
        settle(self.session, [outcome], process_id=self._process_id)

    def _is_suspect(self, claim: Claim) -> bool:
        return bool(self.show(claim.id)["suspect"])

    def _hurry(self) -> list[str]:
        """Let everything be due now that waits for its time, and run it."""
        later = select(jobs.c.id).where(jobs.c.state.in_(["scheduled", "retryable", "available"]))
        mine = later.where(jobs.c.queue.in_(sorted(self.registry.bindings())))
        for job_id in self.session.connection.execute(mine).scalars().all():
            hurry_job(self.session, job_id, actor="inline worker")
        return self.run_due()

    def _make_ledger(self) -> str:
        folder = self._opened.enter_context(tempfile.TemporaryDirectory(prefix="penstock-testing-"))
        url = f"sqlite:///{Path(folder) / 'ledger.db'}"
        migrate(url)
        return url

    def _start_loop(self) -> None:
        before = get_event_loop_thread()
        loop = EventLoop(structlog.get_logger())
        loop.start(timeout=5)
        set_event_loop_thread(loop)
        self._opened.callback(set_event_loop_thread, before)


def _job_classes(job_class: type[Job]) -> Iterable[type[Job]]:
    """The class and all derived from it, but for the abstract ones."""
    for child in job_class.__subclasses__():
        yield from _job_classes(child)
    if job_class.__contract__ is not None:
        yield job_class
