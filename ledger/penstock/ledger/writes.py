"""What handlers have left to the completion of their jobs: statements that run in its transaction, in order."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from sqlalchemy import Executable, TextClause, UpdateBase
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
    runs = list(_runs(writes))
    if len(runs) > PIPELINED_MIN and connection.dialect.name == "postgresql":
        _execute_in_pipeline(connection, runs)
        return
    for run in runs:
        try:
            run.execute(connection)
        except Exception as error:
            raise WriteRefused(run.first, run.last, error) from error


def _execute_in_pipeline(connection: Connection, runs: Sequence[_Run]) -> None:
    """The same without waiting for each answer. Answers come in the order of the statements, and after the first that
    fails there are none."""
    driver: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
    error: Exception | None = None
    begun = 0
    try:
        with driver.pipeline() as pipeline:
            try:
                for run in runs:
                    begun += 1
                    run.execute(connection)
                    if len(run.rows) > 1:  # one answer does not say that all rows have theirs
                        pipeline.sync()
            except Exception as caught:  # of this run, or of one before it
                error = caught
    except psycopg.Error as caught:
        if not isinstance(error, DBAPIError | psycopg.Error):
            error = caught
    if error is not None:
        guilty = next((run for run in runs[:begun] if not run.is_answered), runs[begun - 1])
        if isinstance(error, psycopg.Error):
            error = dressed(error, connection)
        raise WriteRefused(guilty.first, guilty.last, error) from error


class _Run:
    """Neighbours that are the same statement, and go to the server together."""

    def __init__(self, statement: Executable, parameters: dict[str, Any] | None, place: int) -> None:
        self.statement = statement
        self.rows = [parameters]
        self.first = self.last = place
        self._cursors: list[Any] = []

    def takes(self, statement: Executable, parameters: dict[str, Any] | None) -> bool:
        if statement is not self.statement or parameters is None:
            return False
        first = self.rows[0]
        return first is not None and first.keys() == parameters.keys()

    def execute(self, connection: Connection) -> None:
        if len(self.rows) > 1 and self._execute_together(connection):
            return
        for row in self.rows:
            self._send(connection, row)

    @property
    def is_answered(self) -> bool:
        """Whether Postgres has done what was sent, or nothing was."""
        return all(cursor.pgresult is not None for cursor in self._cursors)

    def _execute_together(self, connection: Connection) -> bool:
        """False for a statement that takes only one row at a time, such as one with a list of ids; nothing is sent."""
        try:
            self._send(connection, [row or {} for row in self.rows])
        except StatementError as error:
            if isinstance(error, DBAPIError):
                raise
            return False
        return True

    def _send(self, connection: Connection, parameters: Any) -> None:
        result = connection.execute(self.statement, parameters)
        self._cursors.append(result.context.cursor)
        result.close()


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
