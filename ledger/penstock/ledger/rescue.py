"""Jobs whose process is gone are freed: by the supervisor, who knows more, or by any rescuer, who knows less.

The statements follow `transitions.crash` and `transitions.lose`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.ledger.database import Session, Statement, retry_serialization
from penstock.ledger.dialects import Columns, Dialect
from penstock.ledger.settlement import Failure, record_failures
from penstock.ledger.transitions import CRASHES_MAX, LOSSES_MAX, Death
from penstock.ledger.wakeups import announce


@dataclass(frozen=True, slots=True)
class Rescued:
    """One freed job and where it went: `available`, `dead` or `cancelled`."""

    job_id: str
    queue: str
    type: str
    state: str
    suspect: bool


@retry_serialization
def rescue_crashed(
    session: Session, *, process_id: str, running: Sequence[str], death: Death, alone: bool, how: str
) -> list[Rescued]:
    """The process died. `running` are the ids in its shared memory: suspects; the rest was only claimed.

    `how` says it for people: "SIGSEGV", "exit status 3".
    """
    failure = Failure("crash", error_class=how, message=f"the worker process died: {how}", fingerprint=f"crash:{how}")
    with session.transaction():
        rows = [(job_id,) for job_id in sorted(running)]
        blamed = _free(session, _CRASH, failure, process_id, rows=rows, alone=alone, convicts=death is Death.OWN_DOING)
        _record(session, blamed, failure, process_id)
        released = _rescued(session.run(_RELEASE, process_id=process_id))
        announce(session)
    return blamed + released


@retry_serialization
def rescue_interrupted(session: Session, *, process_id: str, running: Sequence[str]) -> list[Rescued]:
    """The process was ended by us: nobody is blamed. What had started and may not start twice ends dead."""
    failure = Failure("interrupted", message="stopped while it ran", fingerprint="interrupted")
    with session.transaction():
        ended = _free(session, _INTERRUPT, failure, process_id, rows=[(job_id,) for job_id in sorted(running)])
        released = _rescued(session.run(_RELEASE, process_id=process_id))
        announce(session)
    return ended + released


@retry_serialization
def rescue_lost(session: Session, *, process_id: str, running: Sequence[str] | None = None) -> list[Rescued]:
    """The process vanished with its host, or its heartbeat lapsed: nobody is blamed, each job counts a loss.

    If its shared memory is left, `running` are the ids in it: then only these do, the rest was only claimed.
    """
    failure = Failure("lost", message="the worker process vanished", fingerprint="lost")
    with session.transaction():
        if running is None:
            lost = _free(session, _LOSE, failure, process_id)
        else:
            lost = _free(session, _LOSE_RUNNING, failure, process_id, rows=[(job_id,) for job_id in sorted(running)])
        _record(session, lost, failure, process_id)
        released = [] if running is None else _rescued(session.run(_RELEASE, process_id=process_id))
        announce(session)
    return lost + released


def _free(
    session: Session,
    statement: Statement,
    failure: Failure,
    process_id: str,
    *,
    rows: list[tuple[str]] | None = None,
    **params: bool,
) -> list[Rescued]:
    """Run a statement that frees jobs; `failure` is what the dead ones among them are found by."""
    if rows == []:
        return []
    said = {"error": failure.message, "fingerprint": failure.fingerprint}
    return _rescued(session.run(statement, rows, process_id=process_id, **said, **params))


def _record(session: Session, rescued: list[Rescued], failure: Failure, process_id: str) -> None:
    record_failures(session, [(job.job_id, 0, failure, process_id) for job in rescued])


def _rescued(rows: Iterable[Any]) -> list[Rescued]:
    return [Rescued(row.id, row.queue, row.type, row.state, bool(row.suspect)) for row in rows]


_ID: Columns = {"id": "uuid"}
_GONE = "jobs.state = 'executing' AND jobs.process_id = :process_id"
_RETURNING = "RETURNING CAST(jobs.id AS text) AS id, jobs.queue, jobs.type, jobs.state, jobs.suspect"


def _freeing(dialect: Dialect, *, dead: str, reason: str) -> str:
    """The SET list common to all: dead under the condition `dead`, else available at once, or cancelled if asked."""
    asked = "jobs.cancel_requested_at IS NOT NULL"
    return f"""
        state = CASE WHEN {dead} THEN 'dead' WHEN {asked} THEN 'cancelled' ELSE 'available' END,
        reason = CASE WHEN {dead} THEN {reason} WHEN {asked} THEN 'cancelled' ELSE NULL END,
        token = CASE WHEN {dead} THEN jobs.token END,
        due_at = CASE WHEN {dead} OR {asked} THEN jobs.due_at ELSE {dialect.now} END,
        dispatched_at = NULL,
        finished_at = CASE WHEN {dead} OR {asked} THEN {dialect.now} END,
        unknown_since = CASE WHEN {dead} THEN jobs.unknown_since END
    """


def _blaming(dead: str) -> str:
    """What an operator finds a dead job by."""
    return f"""
        error = CASE WHEN {dead} THEN CAST(:error AS text) ELSE jobs.error END,
        fingerprint = CASE WHEN {dead} THEN CAST(:fingerprint AS text) ELSE jobs.fingerprint END
    """


_CONVICTED = f"(:alone AND (:convicts OR jobs.crashes + 1 >= {CRASHES_MAX}))"

_ENDS = f"(jobs.at_most_once OR {_CONVICTED})"

_CRASH = Statement(
    lambda dialect: (
        f"""
        UPDATE jobs SET
            {
            _freeing(
                dialect,
                dead=_ENDS,
                reason="CASE WHEN jobs.at_most_once THEN 'outcome_unknown' ELSE 'crash' END",
            )
        },
            {_blaming(_ENDS)},
            suspect = CASE WHEN {_ENDS} THEN jobs.suspect ELSE true END,
            crashes = jobs.crashes + CASE WHEN :alone AND NOT jobs.at_most_once THEN 1 ELSE 0 END,
            attempts = jobs.attempts + CASE WHEN NOT jobs.at_most_once AND {_CONVICTED} THEN 1 ELSE 0 END
        FROM {dialect.rows("input", _ID)}
        WHERE jobs.id = input.id AND {_GONE}
        {_RETURNING}
    """
    ),
    _ID,
)

_RELEASE = Statement(
    lambda dialect: (
        f"""
        UPDATE jobs SET {_freeing(dialect, dead="false", reason="NULL")} WHERE {_GONE} {_RETURNING}
    """
    )
)

_INTERRUPT = Statement(
    lambda dialect: (
        f"""
        UPDATE jobs SET
            {_freeing(dialect, dead="jobs.at_most_once", reason="'outcome_unknown'")},
            {_blaming("jobs.at_most_once")}
        FROM {dialect.rows("input", _ID)}
        WHERE jobs.id = input.id AND {_GONE}
        {_RETURNING}
    """
    ),
    _ID,
)


def _lose(dialect: Dialect, source: str = "", which: str = "") -> str:
    return f"""
        UPDATE jobs SET
            {_freeing(dialect, dead="jobs.at_most_once", reason="'outcome_unknown'")},
            {_blaming("jobs.at_most_once")},
            suspect = jobs.suspect OR (NOT jobs.at_most_once AND jobs.losses + 1 >= {LOSSES_MAX}),
            losses = jobs.losses + CASE WHEN jobs.at_most_once THEN 0 ELSE 1 END
        {source} WHERE {which} {_GONE}
        {_RETURNING}
    """


_LOSE = Statement(_lose)
_LOSE_RUNNING = Statement(
    lambda dialect: _lose(dialect, f"FROM {dialect.rows('input', _ID)}", "jobs.id = input.id AND"), _ID
)
