"""What handlers have left to the completion of their jobs: statements that run in its transaction, in order."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from sqlalchemy import Executable, Insert, TextClause, UpdateBase
from sqlalchemy.exc import DBAPIError, StatementError

from penstock.ledger.database import dressed, is_gone, is_serialization_failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlalchemy import Connection

    from penstock.ledger.settlement import Outcome

WRITES_MAX = 1000  # of one job
# As many as there may be bytes in a batch count as much as this: its transaction is to be short, too.
WRITE_BYTES = 4096
# To open and close a pipeline costs more than to wait for so many answers.
PIPELINED_MIN = 2
QUICK_SECONDS = 0.5
_STANDS_ALONE = re.compile(r";\s*\S|\A\s*copy\b", re.IGNORECASE)

# A text without parameters may hold several statements; one that ended the transaction would end it for all its jobs.
_ENDS_TRANSACTIONS = re.compile(
    r"(?:\A|;)\s*(begin|start|commit|end|rollback|abort|savepoint|release|prepare)\b", re.IGNORECASE
)
# Comments, and what is quoted in one way or another: values, names, bodies of code.
_NOT_READ = re.compile(r"""--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|"[^"]*"|\$(\w*)\$.*?\$\1\$""", re.DOTALL)

Write = tuple[Executable, dict[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Writes:
    """The statements of one job. `refused` says what becomes of the job when the database refuses one of them."""

    statements: tuple[Write, ...]
    refused: Callable[[Exception], Outcome]


class WriteRefused(Exception):
    """Of a batch, one of the jobs at the places `first` to `last` has a write that failed, by `error`.

    `may_pass`: the connection was lost over it, or somebody else's transaction won.
    """

    def __init__(self, first: int, last: int, error: Exception) -> None:
        self.first = first
        self.last = last
        self.error = error
        self.is_gone = is_gone(error)
        self.may_pass = self.is_gone or is_serialization_failure(error)
        super().__init__(f"{type(error).__name__} in the writes of the jobs {first} to {last}")


class PipelineFailed(Exception):
    """Something was wrong among statements that went without waiting for answers."""


def check_write(statement: object, parameters: object) -> Write:
    """A statement with a copy of its parameters. Raises `TypeError` and `ValueError`, which say what to give."""
    if not isinstance(statement, Executable):
        said = "text('INSERT …')" if isinstance(statement, str) else "text(), insert(), update() or delete()"
        raise TypeError(f"ctx.write() takes {said} of SQLAlchemy, not a {type(statement).__name__}")
    if parameters is not None and not isinstance(parameters, Mapping):
        raise TypeError(
            f"ctx.write() takes one mapping of parameters, like {{'id': 7}}, not a {type(parameters).__name__}; "
            "call it once for each"
        )
    if statement.is_select or (isinstance(statement, UpdateBase) and statement.exported_columns):
        raise ValueError(
            "ctx.write() gives nothing back: leave out returning(), and read in `with ctx.transaction() as connection:`"
        )
    if isinstance(statement, TextClause) and (word := _transaction_word(statement.text)):
        raise ValueError(
            f"ctx.write() stands in the transaction that completes the job, and others: leave out {word}, "
            "or use ctx.transaction() for savepoints"
        )
    return statement, dict(parameters) if parameters else None


@functools.lru_cache(maxsize=1000)
def _transaction_word(statement: str) -> str | None:
    found = _ENDS_TRANSACTIONS.search(_NOT_READ.sub(" ", statement))
    return found[1].upper() if found else None


def execute_writes(connection: Connection, writes: Iterable[tuple[int, Iterable[Write]]]) -> None:
    """Execute the statements of some jobs, each with its place in a batch: one job after the other, none grouped out of
    its turn. Raises `WriteRefused`."""
    _execute_one_by_one(connection, list(_runs(writes)))


def execute_at_once(connection: Connection, writes: Iterable[tuple[int, Iterable[Write]]]) -> None:
    """The same for several jobs, without waiting for each answer where there are many.

    Raises `PipelineFailed` where that was in vain: roll back, and execute them again by `execute_writes`, which says
    why. Raises `WriteRefused` as well.
    """
    runs = list(_runs(writes))
    are_many = len(runs) > PIPELINED_MIN and runs[0].first != runs[-1].last
    if are_many and connection.dialect.name == "postgresql" and all(map(_may_be_pipelined, runs)):
        _execute_in_pipeline(connection, runs)
    else:
        _execute_one_by_one(connection, runs)


def _execute_one_by_one(connection: Connection, runs: Sequence[_Run]) -> None:
    for run in runs:
        try:
            run.execute(connection)
        except Exception as error:
            raise WriteRefused(run.first, run.last, error) from error


def _execute_in_pipeline(connection: Connection, runs: Sequence[_Run]) -> None:
    """An error comes up at any statement behind the one that it is about, or at the end: it says nothing of a job."""
    driver: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
    failed: Exception | None = None
    try:
        with driver.pipeline() as pipeline:
            try:
                for group in _groups(runs):
                    for run in group:
                        run.execute(connection)
                    pipeline.sync()
            except Exception as error:  # psycopg would log the next one, with values
                failed = error
    except psycopg.Error as error:
        failed = failed or error
    if isinstance(failed, psycopg.Error):
        failed = dressed(failed, connection)
    if failed is not None and is_gone(failed):
        raise WriteRefused(runs[0].first, runs[-1].last, failed) from failed
    if failed is not None:
        raise PipelineFailed from failed


def _groups(runs: Sequence[_Run]) -> Iterator[Sequence[_Run]]:
    """Twice as many at a time, as long as they are quick: answers come when all of a group are done, and who waits for
    one does that only so long."""
    at, size = 0, 1
    while at < len(runs):
        begun_at = time.monotonic()
        yield runs[at : at + size]
        at += size
        size = 2 * size if time.monotonic() - begun_at < QUICK_SECONDS else 1


def _may_be_pipelined(run: _Run) -> bool:
    """Not what is several statements, or brings data of its own."""
    statement = run.statement
    if statement.get_execution_options().get("stream_results"):
        return False
    return isinstance(statement, UpdateBase) or (
        isinstance(statement, TextClause) and not _stands_alone(statement.text)
    )


@functools.lru_cache(maxsize=1000)
def _stands_alone(statement: str) -> bool:
    return _STANDS_ALONE.search(_NOT_READ.sub(" ", statement)) is not None


class _Run:
    """Neighbours that are the same statement, and go to the server together."""

    def __init__(self, statement: Executable, parameters: dict[str, Any] | None, place: int) -> None:
        self.statement = statement
        # As nobody asks for the key that the server makes, SQLAlchemy need not either.
        self._sent = statement.inline() if isinstance(statement, Insert) and statement.select is None else statement
        self.rows = [parameters]
        self.first = self.last = place

    def takes(self, statement: Executable, parameters: dict[str, Any] | None) -> bool:
        if statement is not self.statement or parameters is None:
            return False
        first = self.rows[0]
        return first is not None and first.keys() == parameters.keys()

    def execute(self, connection: Connection) -> None:
        if len(self.rows) > 1 and self._execute_together(connection):
            return
        for row in self.rows:
            connection.execute(self._sent, row).close()

    def _execute_together(self, connection: Connection) -> bool:
        """False for a statement that takes only one row at a time, such as one with a list of ids; nothing is sent."""
        try:
            connection.execute(self._sent, [row or {} for row in self.rows]).close()
        except StatementError as error:
            if isinstance(error, DBAPIError):
                raise
            return False
        return True


def _runs(writes: Iterable[tuple[int, Iterable[Write]]]) -> Iterator[_Run]:
    run: _Run | None = None
    for place, statements in writes:
        for statement, parameters in statements:
            if run is not None and run.takes(statement, parameters):
                run.rows.append(parameters)
                run.last = place
                continue
            if run is not None:
                yield run
            run = _Run(statement, parameters, place)
    if run is not None:
        yield run
