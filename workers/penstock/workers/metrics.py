"""What a pool counts of its jobs and processes."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from penstock.ledger.admission import Admission, Admitted, Claim, Offer
from penstock.ledger.state import Reason, State
from penstock.schemas.identifiers import job_id_seconds
from penstock.workers.metric_files import count, observe_many

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from prometheus_client import Counter

    from penstock.ledger.quarantine import Unreadable
    from penstock.ledger.rescue import Rescued
    from penstock.ledger.settlement import Outcome
    from penstock.workers.metric_files import MetricFiles

WAIT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)
RUN_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
BATCH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

UNKNOWN = "(unknown)"

# What is measured of a job takes 150 bytes until it is counted: at 20,000 a second, 3 MB each second.
SAMPLES_MAX = 2_000

# (queue, type, seconds waited, seconds run)
Sample = tuple[str, str, float, float]


class Metrics:
    """The metrics of one process. Counters move once per batch, histograms once per second or some thousand jobs."""

    def __init__(self, files: MetricFiles) -> None:
        counter, histogram, by_type = files.counter, files.histogram, ("queue", "type")
        self._claimed = counter("penstock_jobs_claimed", "Jobs claimed for running", *by_type)
        self._absorbed = counter("penstock_jobs_absorbed", "Deliveries that wait in the ledger", *by_type)
        self._duplicates = counter("penstock_jobs_duplicates", "Deliveries of jobs known already", *by_type)
        self._completed = counter("penstock_jobs_completed", "Jobs completed", *by_type)
        self._retried = counter("penstock_jobs_retried", "Attempts that failed and will be retried", *by_type)
        self._snoozed = counter("penstock_jobs_snoozed", "Runs put off without using up an attempt", *by_type)
        self._dead = counter("penstock_jobs_dead", "Jobs that became dead letters", *by_type, "reason")
        self._cancelled = counter("penstock_jobs_cancelled", "Jobs cancelled", *by_type)
        self._fenced = counter("penstock_jobs_fenced", "Outcomes dropped: the job had another owner", *by_type)
        self._released = counter("penstock_jobs_released", "Claims handed back without an attempt", *by_type)
        self._rescued = counter("penstock_jobs_rescued", "Jobs freed from processes that are gone", *by_type)
        self._quarantined = counter("penstock_messages_quarantined", "Messages that could not be read", "queue")
        self._deaths = counter(
            "penstock_process_deaths", "Processes of the pool that ended unasked", "pool", "kind", "how"
        )
        self._claims = histogram("penstock_claim_batch_jobs", "Jobs per claim", BATCH_BUCKETS)
        self._settles = histogram("penstock_settle_batch_jobs", "Jobs per settle", BATCH_BUCKETS)
        self._wait = histogram("penstock_job_wait_seconds", "From due to started", WAIT_BUCKETS, *by_type)
        self._run = histogram("penstock_job_run_seconds", "From started to returned", RUN_BUCKETS, *by_type)
        self.samples: deque[Sample] = deque(maxlen=1_000_000)
        self._flushing = threading.Lock()

    def claimed(self, claims: Sequence[Claim], *, knows_type: Callable[[str], bool]) -> None:
        """A claim straight from the ledger, where anything may wait."""
        if claims:
            self._claims.observe(len(claims))
            names = ((claim.queue, claim.type if knows_type(claim.type) else UNKNOWN) for claim in claims)
            count(self._claimed, names)

    def admitted(self, offers: Sequence[Offer], admission: Admission, unreadable: Sequence[Unreadable]) -> None:
        """A batch of deliveries."""
        counters = {
            Admitted.ABSORBED: self._absorbed,
            Admitted.DUPLICATE: self._duplicates,
            Admitted.CONFLICT: self._duplicates,
        }
        if admission.claims:
            self._claims.observe(len(admission.claims))
            count(self._claimed, ((claim.queue, claim.type) for claim in admission.claims))
        if len(admission.claims) < len(offers):
            firsts, repeats = _told_apart(offers)
            count(self._duplicates, ((offer.queue, _label_of(offer.message.type, offer.reason)) for offer in repeats))
            for outcome, metric in counters.items():
                count(
                    metric,
                    (
                        (offer.queue, _label_of(offer.message.type, offer.reason))
                        for offer in firsts
                        if admission.outcomes.get(offer.message.id) is outcome
                    ),
                )
            count(self._dead, _dead_on_arrival(firsts, admission))
        count(self._quarantined, ((item.queue,) for item in unreadable))

    def settled(self, outcomes: Sequence[tuple[Outcome, Claim | None]], fenced: set[str]) -> None:
        """A batch of outcomes that the ledger has taken."""
        self._settles.observe(len(outcomes))
        completed: list[tuple[str, ...]] = []
        for outcome, claim in outcomes:
            if claim is None:
                continue
            if outcome.state is State.COMPLETED and outcome.job_id not in fenced:  # nearly all of them
                completed.append((claim.queue, claim.type))
                continue
            labels: tuple[str, ...] = (claim.queue, _label_of(claim.type, outcome.reason))
            metric = self._fenced if outcome.job_id in fenced else self._metric_of(outcome)
            if metric is self._dead:
                labels += (outcome.reason or "",)
            metric.labels(*labels).inc()
        count(self._completed, completed)
        if len(self.samples) > SAMPLES_MAX:
            self.flush()

    def completed_by_handler(self, claim: Claim, *, fenced: bool) -> None:
        """The handler's own transaction has completed the job, or found that it belongs to somebody else."""
        (self._fenced if fenced else self._completed).labels(claim.queue, claim.type).inc()

    def rescued(self, jobs: Iterable[Rescued]) -> None:
        freed = list(jobs)
        count(self._rescued, ((job.queue, job.type) for job in freed))
        # Convicted jobs are suspects; the others may have started and must not start twice.
        dead = [job for job in freed if job.state == State.DEAD]
        count(self._dead, ((job.queue, job.type, "crash" if job.suspect else "outcome_unknown") for job in dead))
        count(self._cancelled, ((job.queue, job.type) for job in freed if job.state == State.CANCELLED))

    def died(self, pool: str, kind: str, how: str) -> None:
        """A process has ended that nobody had asked to."""
        self._deaths.labels(pool, kind, how).inc()

    def flush(self) -> None:
        """Move what the threads have measured into the histograms, a batch at a time."""
        gathered: dict[tuple[str, str], list[tuple[float, float]]] = {}
        with self._flushing:
            for _ in range(len(self.samples)):
                queue, job_type, wait, run = self.samples.popleft()
                gathered.setdefault((queue, job_type), []).append((wait, run))
        for labels, pairs in gathered.items():
            observe_many(self._wait.labels(*labels), WAIT_BUCKETS, [wait for wait, _ in pairs])
            observe_many(self._run.labels(*labels), RUN_BUCKETS, [run for _, run in pairs])

    def _metric_of(self, outcome: Outcome) -> Counter:
        return {
            State.COMPLETED: self._completed,
            State.RETRYABLE: self._retried,
            State.SCHEDULED: self._snoozed,
            State.DEAD: self._dead,
            State.CANCELLED: self._cancelled,
            State.AVAILABLE: self._released,
        }[outcome.state]


def waited_seconds(claim: Claim) -> float:
    """From when the job was due, or its id was made, until now; by this host's clock, never below zero."""
    since = claim.due_at.timestamp() if claim.due_at is not None else job_id_seconds(claim.id)
    return max(0.0, time.time() - since)


def _label_of(job_type: str, reason: str | None) -> str:
    """A type that we do not know is somebody's invention; anybody can invent a million of them."""
    return UNKNOWN if reason == Reason.UNKNOWN_TYPE else job_type


def _told_apart(offers: Sequence[Offer]) -> tuple[list[Offer], list[Offer]]:
    """Those to which the outcome of their id belongs, and those of jobs that one before them in the batch has made."""
    firsts: dict[str, Offer] = {}
    repeats = []
    for offer in offers:
        if offer.message.id in firsts:
            repeats.append(offer)
        else:
            firsts[offer.message.id] = offer
    return list(firsts.values()), repeats


def _dead_on_arrival(offers: Sequence[Offer], admission: Admission) -> Iterator[tuple[str, str, str]]:
    """(queue, type, reason) of what became a dead letter without having been claimed."""
    for offer in offers:
        outcome = admission.outcomes.get(offer.message.id)
        if outcome is Admitted.CONFLICT:
            yield offer.queue, offer.message.type, Reason.KEY_CONFLICT
        elif outcome is Admitted.GIVEN_UP and offer.reason is not None:
            yield offer.queue, _label_of(offer.message.type, offer.reason), offer.reason
