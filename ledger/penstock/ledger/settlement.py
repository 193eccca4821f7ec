"""Outcomes become end states, or rows that wait again: one statement per batch, fenced by the token.

The statements follow `complete`, `fail`, `bury`, `snooze`, `release`, `interrupt` and `trouble` of
`transitions`. An attempt is counted here, never by the claim.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from penstock.ledger import unknown
from penstock.ledger.admission import Offer, admit_within
from penstock.ledger.database import Session, Statement, is_disconnect, retry_serialization
from penstock.ledger.dialects import Columns, Dialect
from penstock.ledger.failpoints import Failpoint, reach
from penstock.ledger.state import ENDED, WAITING, State
from penstock.ledger.transitions import TROUBLES_MAX
from penstock.ledger.wakeups import announce
from penstock.ledger.writes import (
    WRITE_BYTES,
    PipelineFailed,
    Write,
    WriteRefused,
    Writes,
    execute_at_once,
    execute_writes,
)

ClaimKey = tuple[str, int]
"""A job's id and the token of one claim of it."""

ExecuteWrites = Callable[[Connection, Iterator[tuple[int, Sequence[Write]]]], None]
"""What `writes` has for that."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong in an attempt, as it may be shown: redacted, without the payload's values."""

    kind: str  # failed, timeout, crash, lost, outcome_unknown, infrastructure
    error_class: str = ""
    message: str = ""
    traceback: str = ""
    fingerprint: str = ""


@dataclass(slots=True)  # not frozen: one is made for each job, and a frozen one costs three times as much
class Outcome:
    """What became of a claim.

    `state` is where the job goes, `counts` whether an attempt was used up, `delay_seconds` when it is due again.
    `follow_ups` are accepted together with the outcome, or not at all; so are `writes`, by `settle_with_writes` only.
    """

    job_id: str
    token: int
    state: State
    reason: str | None = None  # a `Reason`, or what a retry policy of the job's author says
    counts: bool = True
    delay_seconds: float = 0.0
    result: bytes | None = None
    failure: Failure | None = None
    trouble: bool = False
    follow_ups: tuple[Offer, ...] = ()
    writes: Writes | None = None

    @property
    def claim(self) -> ClaimKey:
        """What it is the outcome of."""
        return self.job_id, self.token

    @property
    def size(self) -> int:
        """Bytes that it brings along, and what its writes count for."""
        written = 0 if self.writes is None else WRITE_BYTES * len(self.writes.statements)
        return written + len(self.result or b"") + sum(len(offer.message.body) for offer in self.follow_ups)

    @property
    def is_plain(self) -> bool:
        """Completed and nothing else: nearly all of them, on the hot path."""
        return self.state is State.COMPLETED and self.result is None and not self.follow_ups and self.writes is None

    @property
    def has_plain_row(self) -> bool:
        """Whether nothing else changes in the job's own row."""
        return self.state is State.COMPLETED and self.result is None and not self.follow_ups


@retry_serialization
def settle(session: Session, outcomes: Sequence[Outcome], *, process_id: str | None = None) -> set[str]:
    """Write a batch of outcomes; returns the ids that were fenced: somebody else owns those jobs now.

    Of two outcomes of one claim the first counts, as it would in two batches. Where the row's own history decides
    otherwise (worn out, unknown for too long, a wish to cancel), the outcome is corrected to what the row says.
    """
    first = _by_claim(outcomes)
    plain = [claim for claim, outcome in first.items() if outcome.is_plain]
    if len(plain) == len(first):
        return _complete(session, plain)
    others = [outcome for outcome in first.values() if not outcome.is_plain]
    if any(outcome.writes for outcome in others):
        raise TypeError("an outcome with writes goes to settle_with_writes()")
    with session.transaction():
        fenced = _complete(session, plain) if plain else set()
        settled = _settle_rows(session, others)
        _bring_along(session, others, settled, process_id)
        missed = [outcome for outcome in others if outcome.job_id not in settled]
        fenced |= _fenced(session, missed) if missed else set()
    _correct(others, settled)
    return fenced


def settle_with_writes(session: Session, outcomes: Sequence[Outcome], *, process_id: str | None = None) -> set[str]:
    """Write a batch of outcomes together with the writes of those that complete their jobs, in one transaction on a
    `Ledger.writing_session`; returns the ids that were fenced.

    A job's writes are executed if this very call completes it: not if it was fenced, nor again where an earlier
    call's COMMIT has landed and its reply was lost. Raises `WriteRefused`, and what `settle` raises; then nothing of
    the batch has been written.
    """
    try:
        return _settle_and_commit(session, outcomes, process_id, execute_at_once)
    except PipelineFailed:
        return _settle_and_commit(session, outcomes, process_id, execute_writes)


def _settle_and_commit(
    session: Session, outcomes: Sequence[Outcome], process_id: str | None, execute: ExecuteWrites
) -> set[str]:
    try:
        fenced = _settle_and_write(session, outcomes, process_id, execute)
        reach(Failpoint.COMMITTING)
        _commit(session, len(outcomes))
    except BaseException:
        _roll_back(session)
        raise
    return fenced


def _settle_and_write(
    session: Session, outcomes: Sequence[Outcome], process_id: str | None, execute: ExecuteWrites
) -> set[str]:
    """The jobs' rows first, for the fence; follow-ups last, as others may wait for their keys."""
    first = _by_claim(outcomes)
    plain = [claim for claim, outcome in first.items() if outcome.has_plain_row]
    others = [outcome for outcome in first.values() if not outcome.has_plain_row]
    with session.by_index():
        written = {(row.id, row.token) for row in session.run(_COMPLETE_NOW, plain)} if plain else set()
        settled = _settle_rows(session, others) if others else {}
        written |= {(row.id, row.token) for row in settled.values()}
        missed = [outcome for claim, outcome in first.items() if claim not in written and claim[0] not in settled]
        fenced = _fenced(session, missed) if missed else set()
    execute(session.connection, _writes_of(outcomes, written))
    if others:
        with session.by_index():
            _bring_along(session, others, settled, process_id)
        _correct(others, settled)
    return fenced


def _by_claim(outcomes: Sequence[Outcome]) -> dict[ClaimKey, Outcome]:
    """In the order in which rows are locked; of two outcomes of one claim, the first."""
    first = {outcome.claim: outcome for outcome in reversed(outcomes)}
    return {claim: first[claim] for claim in sorted(first)}


def _writes_of(outcomes: Sequence[Outcome], written: set[ClaimKey]) -> Iterator[tuple[int, Sequence[Write]]]:
    """Those of the claims that have just been completed, once each, with their places."""
    for place, outcome in enumerate(outcomes):
        if outcome.claim in written:
            written.remove(outcome.claim)
            if outcome.writes is not None and outcome.state is State.COMPLETED:
                yield place, outcome.writes.statements


def _commit(session: Session, jobs: int) -> None:
    try:
        session.connection.commit()
    except DBAPIError as error:
        if is_disconnect(error):
            raise
        raise WriteRefused(0, jobs - 1, error) from error  # a constraint that is checked only now


def _roll_back(session: Session) -> None:
    try:
        session.connection.rollback()
    except DBAPIError:
        session.connection.invalidate()


def _correct(outcomes: list[Outcome], settled: dict[str, Any]) -> None:
    """Say what the row says."""
    for outcome in outcomes:
        if (row := settled.get(outcome.job_id)) is not None:
            outcome.state, outcome.reason = State(row.state), row.reason


def _complete(session: Session, claims: list[ClaimKey]) -> set[str]:
    result = session.run(_COMPLETE, claims)
    if result.rowcount == len(claims):
        return set()
    states = _settled(session, claims)
    return {job_id for job_id, _ in claims if states.get(job_id) != State.COMPLETED}


def _settled(session: Session, claims: list[ClaimKey]) -> dict[str, str]:
    """How these jobs ended, as far as it was under these tokens: a commit had landed and its reply was lost."""
    return {row.id: row.state for row in session.run(_SETTLED, claims) if row.state in ENDED}


def _fenced(session: Session, missed: list[Outcome]) -> set[str]:
    states = _settled(session, [outcome.claim for outcome in missed])
    return {outcome.job_id for outcome in missed if states.get(outcome.job_id) != outcome.state}


def _settle_rows(session: Session, outcomes: list[Outcome]) -> dict[str, Any]:
    """The rows that this settle has written, by job id."""
    rows = [_row(outcome) for outcome in outcomes]
    return {row.id: row for row in session.run(_SETTLE, rows)}


def _bring_along(session: Session, outcomes: list[Outcome], settled: dict[str, Any], process_id: str | None) -> None:
    """What goes with the outcomes that have landed: failures, follow-ups, the news of rows that wait."""
    landed = [outcome for outcome in outcomes if outcome.job_id in settled]
    record_failures(
        session,
        [
            (outcome.job_id, settled[outcome.job_id].attempts, outcome.failure, process_id)
            for outcome in landed
            if outcome.failure is not None
        ],
    )
    follow_ups = [offer for outcome in landed for offer in outcome.follow_ups]
    if follow_ups:
        admit_within(session, follow_ups)
    if any(row.state in WAITING for row in settled.values()):
        announce(session)


def record_failures(session: Session, failures: Sequence[tuple[str, int, Failure, str | None]]) -> None:
    """Add (job id, attempt, failure, process id) to the history of attempts."""
    if failures:
        rows = [
            (job_id, attempt, it.kind, it.error_class, it.message, it.traceback, it.fingerprint, process)
            for job_id, attempt, it, process in failures
        ]
        session.run(_RECORD_FAILURES, [tuple(_clean(value) for value in row) for row in rows])


def _clean(value: Any) -> Any:
    """Text that both databases take and that cannot break a batch: separators and NUL have no place in it."""
    if not isinstance(value, str) or (value.isascii() and value.isprintable()):
        return value
    kept = value.encode("utf-8", "replace").decode()
    return "".join(character for character in kept if character >= " " or character in "\n\t")


def _row(outcome: Outcome) -> tuple[Any, ...]:
    failure = outcome.failure
    return (
        outcome.job_id,
        outcome.token,
        outcome.state,
        _clean(outcome.reason),
        1 if outcome.counts else 0,
        1 if outcome.trouble else 0,
        outcome.delay_seconds,
        outcome.result,
        _clean(f"{failure.error_class}: {failure.message}"[:500]) if failure else None,
        _clean(failure.fingerprint) or None if failure else None,
    )


_TOKENS: Columns = {"id": "uuid", "token": "bigint"}

_FENCE = "jobs.id = input.id AND jobs.token = input.token AND jobs.state = 'executing'"


def _complete_all(dialect: Dialect) -> str:
    return f"""
        UPDATE jobs SET state = 'completed', attempts = jobs.attempts + 1, finished_at = {dialect.now}
        FROM {dialect.rows("input", _TOKENS)}
        WHERE {_FENCE}
    """


_COMPLETE = Statement(_complete_all, _TOKENS)
_COMPLETE_NOW = Statement(
    lambda dialect: f"{_complete_all(dialect)} RETURNING CAST(jobs.id AS text) AS id, jobs.token", _TOKENS
)

_SETTLED = Statement(
    lambda dialect: (
        f"""
        SELECT CAST(jobs.id AS text) AS id, jobs.state
        FROM jobs JOIN {dialect.rows("input", _TOKENS)} ON jobs.id = input.id AND jobs.token = input.token
    """
    ),
    _TOKENS,
)

_OUTCOME: Columns = {
    "id": "uuid",
    "token": "bigint",
    "state": "text",
    "reason": "text",
    "counts": "int",
    "trouble": "int",
    "delay_seconds": "float",
    "result": "json",
    "error": "text",
    "fingerprint": "text",
}

_WAITS = "input.state IN ('scheduled', 'available', 'retryable')"
# Whoever asked to cancel a running job gets that when it comes back, and not another run.
_CANCELLED = f"{_WAITS} AND jobs.cancel_requested_at IS NOT NULL"
_WORN_OUT = f"input.trouble = 1 AND jobs.troubles + 1 >= {TROUBLES_MAX}"
# These outcomes come from handlers that had started; what is merely handed back had not.
_STARTED_ONCE = "(jobs.at_most_once AND (input.state IN ('scheduled', 'retryable') OR input.trouble = 1))"
_UNKNOWN = f"(input.state = 'available' AND {unknown.IS_UNKNOWN})"


def _settle(dialect: Dialect) -> str:
    given_up = f"({_UNKNOWN} AND jobs.cancel_requested_at IS NULL AND {unknown.too_long(dialect)})"
    ends = f"({_STARTED_ONCE} OR ({_WORN_OUT}) OR {given_up})"
    comes_back = f"{_WAITS} AND jobs.cancel_requested_at IS NULL AND NOT {ends}"
    return f"""
        UPDATE jobs SET
            state = CASE WHEN {ends} THEN 'dead' WHEN {_CANCELLED} THEN 'cancelled' ELSE input.state END,
            reason = CASE WHEN {_STARTED_ONCE} THEN 'outcome_unknown' WHEN {_WORN_OUT} THEN 'infrastructure'
                WHEN {_CANCELLED} THEN 'cancelled' ELSE input.reason END,
            attempts = jobs.attempts + input.counts,
            troubles = jobs.troubles + CASE WHEN jobs.at_most_once THEN 0 ELSE input.trouble END,
            suspect = CASE WHEN input.state IN ('retryable', 'scheduled') AND NOT jobs.at_most_once THEN false
                ELSE jobs.suspect END,
            token = CASE WHEN {_WAITS} AND NOT {ends} THEN NULL ELSE jobs.token END,
            due_at = CASE WHEN {comes_back} THEN {dialect.later(unknown.delay(dialect))} ELSE jobs.due_at END,
            finished_at = CASE WHEN {comes_back} THEN NULL ELSE {dialect.now} END,
            unknown_since = CASE WHEN {comes_back} AND {_UNKNOWN} THEN {unknown.since(dialect)}
                WHEN {_WAITS} AND NOT {ends} THEN NULL ELSE jobs.unknown_since END,
            dispatched_at = NULL,
            result = {dialect.blob("input.result")},
            error = COALESCE(input.error, jobs.error),
            fingerprint = COALESCE(input.fingerprint, jobs.fingerprint)
        FROM {dialect.rows("input", _OUTCOME)}
        WHERE {_FENCE}
        RETURNING CAST(jobs.id AS text) AS id, jobs.token, jobs.attempts, jobs.state, jobs.reason
    """


_SETTLE = Statement(_settle, _OUTCOME)

_FAILURE: Columns = {
    "job_id": "uuid",
    "attempt": "int",
    "kind": "text",
    "error_class": "text",
    "message": "text",
    "traceback": "text",
    "fingerprint": "text",
    "process_id": "uuid",
}

_RECORD_FAILURES = Statement(
    lambda dialect: (
        f"""
        INSERT INTO attempts (job_id, attempt, kind, error_class, message, traceback, fingerprint, process_id,
            created_at)
        SELECT input.job_id, input.attempt, input.kind, input.error_class, input.message, input.traceback,
            input.fingerprint, input.process_id, {dialect.now}
        FROM {dialect.rows("input", _FAILURE)}
    """
    ),
    _FAILURE,
)
