"""The payloads that may still run: what waits, runs, or could be replayed."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass

from penstock.ledger.database import Session, Statement

FETCH_JOBS = 1000


@dataclass(frozen=True, slots=True)
class LivePayload:
    """The part of a job that a contract is held against; `id` is the job's."""

    id: str
    type: str
    version: int
    state: str
    payload: bytes


def live_payloads(session: Session) -> Iterator[LivePayload]:
    """Every job that is not finished, as of one moment, in batches from the server; takes no lock.

    Left out are dead letters that fitted no contract before, and key conflicts, which are never run.
    """
    query = _LIVE.text(session.dialect).execution_options(stream_results=True, yield_per=FETCH_JOBS)
    # A cursor of Postgres needs a transaction; one on SQLite would be the only writer.
    with session.transaction() if session.dialect.name == "postgresql" else nullcontext():
        for row in session.connection.execute(query):
            yield LivePayload(row.id, row.type, row.version, row.state, bytes(row.payload))


_COLUMNS = "CAST(id AS text) AS id, type, version, state, payload"
_WAITING = "state IN ('scheduled', 'available', 'retryable')"

# One part for each partial index: beside millions of finished jobs the live ones are few.
_LIVE = Statement(
    lambda _: (
        f"""
        SELECT {_COLUMNS} FROM jobs WHERE {_WAITING} AND dispatched_at IS NULL
        UNION ALL SELECT {_COLUMNS} FROM jobs WHERE {_WAITING} AND dispatched_at IS NOT NULL
        UNION ALL SELECT {_COLUMNS} FROM jobs WHERE state = 'executing'
        UNION ALL SELECT {_COLUMNS} FROM jobs
            WHERE state = 'dead' AND COALESCE(reason, '') NOT IN ('invalid_payload', 'key_conflict')
    """
    )
)
