"""Connections to the ledger's database, their timeouts, and what to do when it answers with an error."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, ParamSpec, Self, TypeVar
from weakref import WeakSet

import psycopg
from sqlalchemy import Connection, CursorResult, Engine, TextClause, create_engine, event, text
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, StatementError
from sqlalchemy.pool import NullPool, PoolProxiedConnection, QueuePool
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from penstock.ledger.bounded_connection import BoundedConnection
from penstock.ledger.dialects import BadValue, Columns, Dialect, Postgres, SQLite
from penstock.ledger.own_connection import OwnConnection
from penstock.ledger.simple_query import simple_query

LOCK_TIMEOUT_SECONDS = 5
STATEMENT_TIMEOUT_SECONDS = 30
IDLE_IN_TRANSACTION_SECONDS = 15
SQLITE_BUSY_SECONDS = 30
SERIALIZATION_FAILURES = ("40001", "40P01")  # somebody else won: the same statement again will do
# A lock that was not to be had, a statement that took too long, a server that is only a standby at the moment.
REFUSALS_THAT_PASS = (*SERIALIZATION_FAILURES, "55P03", "57014", "25006")

# On fresh statistics the planner takes a sequential scan for a join with a batch of rows, and keeps it in the prepared
# plan while the table grows. Every hot statement has an index.
BY_INDEX = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off", "jit": "off"}

# An execution option of SQLAlchemy's: it goes with every connection, also into the transactions of handlers.
ANNOUNCES = "penstock_announces"

P = ParamSpec("P")
T = TypeVar("T")
Purpose = Literal["engine", "handlers"]


class LedgerUnavailable(ConnectionError):
    """The ledger's database cannot be reached; the text names it, without its password, and the remedy."""


class LedgerConfigurationError(ValueError):
    """`PENSTOCK_DATABASE_URL` cannot be used."""


class Ledger:
    """The address of the durable truth, and sessions on it. Cheap to make; connects when it must.

    `url` is SQLAlchemy's: `postgresql+psycopg://…` (or plain `postgresql://…`) or `sqlite:///file`.
    """

    def __init__(self, url: str, *, announces: bool = True) -> None:
        """`announces`: tell those who listen that rows have come to wait; needless where RabbitMQ brings the jobs."""
        self.url = _checked(url)
        self._options = {ANNOUNCES: announces}
        self.dialect: Dialect = SQLite() if self.url.drivername.startswith("sqlite") else Postgres()
        self._opened: WeakSet[psycopg.Connection[Any]] = WeakSet()

    def __str__(self) -> str:
        return str(self.url.render_as_string(hide_password=True))

    def session(self, *, is_patient: bool = False) -> "Session":
        """A session of its own for one thread of the engine; raises `LedgerUnavailable`.

        A patient one waits for as long as a statement may take; others take a silent server for a lost one.
        """
        return Session(self._connect(self.engine(purpose="engine"), is_patient=is_patient), self.dialect)

    def writing_session(self) -> "Session":
        """A session of its own for what handlers have left to the engine to write, with the settings that theirs have.

        A transaction begins with its first statement; the caller commits. Raises `LedgerUnavailable`.
        """
        return Session.within(self._connect(self.engine(purpose="handlers")))

    def _connect(self, engine: Engine, *, is_patient: bool = False) -> Connection:
        if not is_patient and self.dialect.name == "postgresql":
            _bound_answers(engine)
        try:
            return engine.connect()
        except DBAPIError as error:
            raise LedgerUnavailable(
                f"cannot connect to the ledger at {self}: {error.orig}. "
                "Check PENSTOCK_DATABASE_URL and that the database is up."
            ) from error

    def engine(self, *, purpose: Purpose, pool_size: int = 1) -> Engine:
        """An SQLAlchemy engine: one connection in autocommit for the engine, a pool for handlers."""
        if self.dialect.name == "sqlite":
            return _sqlite_engine(self.url, purpose=purpose, pool_size=pool_size)
        engine = _postgres_engine(self.url, purpose=purpose, pool_size=pool_size)
        engine.update_execution_options(**self._options)
        event.listen(engine, "connect", lambda driver, _: self._opened.add(driver))
        return engine

    @property
    def files(self) -> list[int]:
        """The descriptors of all connections to Postgres that have been opened by this and are open."""
        return [driver.fileno() for driver in self._opened if not driver.closed]


class Session:
    """One connection in autocommit; `transaction()` where several statements belong together.

    Not thread-safe: each thread of the engine has its own.
    """

    def __init__(self, connection: Connection, dialect: Dialect, *, in_transaction: bool = False) -> None:
        self.connection = connection
        self.dialect = dialect
        self._in_transaction = in_transaction

    @classmethod
    def within(cls, connection: Connection) -> Self:
        """A session inside a transaction that somebody else began and will commit."""
        dialect: Dialect = SQLite() if connection.dialect.name == "sqlite" else Postgres()
        return cls(connection, dialect, in_transaction=True)

    @property
    def announces(self) -> bool:
        """Whether rows that come to wait here are worth a notification; see `wakeups`."""
        return self.dialect.name == "postgresql" and bool(self.connection.get_execution_options().get(ANNOUNCES, True))

    def run(
        self, statement: "Statement", rows: Sequence[Sequence[Any]] | None = None, **params: Any
    ) -> CursorResult[Any]:
        """Execute a statement of this room, with a batch of input rows where it takes one."""
        if rows is not None:
            params |= self.dialect.bind("input", statement.columns, rows)
        return self.connection.execute(statement.text(self.dialect), params)

    @contextmanager
    def transaction(self) -> Iterator[Self]:
        """Commit on leaving, roll back on an error; nested use joins the outer one."""
        if self._in_transaction:
            yield self
            return
        self.connection.exec_driver_sql(self.dialect.begin)
        self._in_transaction = True
        try:
            yield self
        except BaseException:
            self._in_transaction = False
            if not self.connection.invalidated:
                self.connection.exec_driver_sql("ROLLBACK")
            raise
        else:
            self._in_transaction = False
            self.connection.exec_driver_sql("COMMIT")

    @contextmanager
    def by_index(self) -> Iterator[None]:
        """Inside a transaction of the handlers' settings: plan the statements of this room as on the engine's own
        sessions. An error ends the transaction, and with it these settings."""
        if self.dialect.name == "postgresql":
            self.connection.exec_driver_sql(_set_local(BY_INDEX))
        yield
        if self.dialect.name == "postgresql":
            self.connection.exec_driver_sql(_set_local(dict.fromkeys(BY_INDEX, "DEFAULT")))

    def close(self) -> None:
        engine = self.connection.engine
        self.connection.close()
        engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Statement:
    """SQL text written once for both dialects; compiled once for each.

    `write` gets the dialect and returns the text; `columns` are those of the batch of rows it takes,
    which it reads from `dialect.rows("input", columns)`.
    """

    def __init__(self, write: Callable[[Dialect], str], columns: Columns | None = None) -> None:
        self.columns: Columns = columns or {}
        self._write = write
        self.text = functools.cache(self._text)

    def _text(self, dialect: Dialect) -> TextClause:
        return text(self._write(dialect))


def is_disconnect(error: BaseException) -> bool:
    """Whether the session is gone, as opposed to a statement refused."""
    if isinstance(error, LedgerUnavailable):
        return True
    return is_gone(error) or (isinstance(error, DBAPIError) and sqlstate(error).startswith("53"))  # 53300: too many


def is_gone(error: BaseException) -> bool:
    """Whether the connection has ended under a statement that may have been at fault for all other errors."""
    # 57P01–57P05: the server shuts down or was told to end us; 08…: the connection itself.
    return isinstance(error, DBAPIError) and (error.connection_invalidated or sqlstate(error).startswith(("57P", "08")))


def is_passing(error: BaseException) -> bool:
    """Whether a statement of the engine's own may well be taken later: nobody's values were refused."""
    if is_disconnect(error):
        return True
    # 58…: the disk under the server.
    state = sqlstate(error) if isinstance(error, DBAPIError) else ""
    return state in REFUSALS_THAT_PASS or state.startswith("58")


def sqlstate(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", None) or "")


def is_bad_data(error: BaseException) -> bool:
    """Whether a value or a row was refused, by us or by the database: somebody in the batch is guilty."""
    return isinstance(error, BadValue | DataError | IntegrityError)


def retry_serialization(function: Callable[P, T]) -> Callable[P, T]:
    """Call it again, up to ten times in all, when somebody else has won.

    The first call is made without tenacity, of which each call leaves 1.4 kB in cycles: that was megabytes until
    Python's collector came round.
    """
    again = _serialization_retrying.wraps(function)

    @functools.wraps(function)
    def first(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except DBAPIError as error:
            if not is_serialization_failure(error):
                raise
        return again(*args, **kwargs)

    return first


def is_serialization_failure(error: BaseException) -> bool:
    """Whether somebody else's transaction has won."""
    return isinstance(error, DBAPIError) and sqlstate(error) in SERIALIZATION_FAILURES


_serialization_retrying = Retrying(
    retry=retry_if_exception(is_serialization_failure),
    wait=wait_random_exponential(multiplier=0.01, max=0.5),
    stop=stop_after_attempt(9),
    reraise=True,
)


def _set_local(settings: Mapping[str, str]) -> str:
    return "; ".join(f"SET LOCAL {name} TO {value}" for name, value in settings.items())


def _checked(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise LedgerConfigurationError(
            "PENSTOCK_DATABASE_URL is not a URL: use postgresql://user:password@host/database or sqlite:///file.db"
        ) from None
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("postgresql+psycopg", "sqlite", "sqlite+pysqlite"):
        raise LedgerConfigurationError(
            f"PENSTOCK_DATABASE_URL names the driver {parsed.drivername!r}: use postgresql:// or sqlite://"
        )
    if parsed.drivername.startswith("sqlite") and parsed.database in (None, "", ":memory:"):
        raise LedgerConfigurationError("PENSTOCK_DATABASE_URL must name a file: a ledger in memory would not survive")
    return parsed


def _postgres_engine(url: URL, *, purpose: Purpose, pool_size: int) -> Engine:
    settings = {
        "lock_timeout": f"{LOCK_TIMEOUT_SECONDS}s",
        "statement_timeout": f"{STATEMENT_TIMEOUT_SECONDS}s",
        "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_SECONDS}s",
        # A receipt is worth its name also on a server, or for a user, for whom commits are set to come later.
        "synchronous_commit": "on",
        # Whatever the server's own defaults are: the statements need the one, and a time near year 1 or 9999
        # cannot be read back in every zone.
        "default_transaction_isolation": r"read\ committed",
        "timezone": "UTC",
    }
    if purpose == "engine":
        settings |= BY_INDEX
    arguments = {
        "application_name": f"penstock-{purpose}",
        "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
        "connect_timeout": 5,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,
    }
    options: dict[str, Any] = {"connect_args": arguments, "hide_parameters": True}  # no payload in any error
    if purpose == "engine":
        engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT", **options)
    else:
        options["isolation_level"] = "READ COMMITTED"
        engine = create_engine(url, poolclass=QueuePool, pool_size=pool_size, max_overflow=0, **options)
        engine.dialect.do_begin = _begin_plainly  # type: ignore[method-assign]
    event.listen(engine, "handle_error", _hide_row)
    return engine


def _bound_answers(engine: Engine) -> None:
    def connect(_dialect: object, _record: object, words: Sequence[Any], options: dict[str, Any]) -> BoundedConnection:
        return BoundedConnection.connect(*words, **options)

    event.listen(engine, "do_connect", connect)


def hide_row(refused: BaseException, shown: BaseException | None) -> None:
    """Postgres tells in the DETAIL of a refused row all that was in it; an error ends in logs."""
    if is_bad_data(shown or refused) and isinstance(refused, psycopg.Error):
        refused.args = (refused.diag.message_primary or str(refused),)
        if shown is not None:
            shown.args = (f"({type(refused).__name__}) {refused}",)


def dressed(error: psycopg.Error, connection: Connection) -> StatementError:
    """What SQLAlchemy would raise for an error of psycopg's that has come past it; a lost connection is put aside."""
    driver: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
    is_lost = driver.closed or driver.broken
    shown = DBAPIError.instance(
        None, None, error, psycopg.Error, True, connection_invalidated=is_lost, dialect=connection.dialect
    )
    hide_row(error, shown)
    if is_lost:
        connection.invalidate(error)
    return shown


def _hide_row(context: ExceptionContext) -> None:
    hide_row(context.original_exception, context.sqlalchemy_exception)


def _begin_plainly(dbapi_connection: PoolProxiedConnection) -> None:
    """What psycopg does before the first statement of a transaction, for less of a worker's CPU.

    Where it was told of another isolation, or waits for an answer only so long, psycopg does it.
    """
    driver = dbapi_connection.driver_connection
    if type(driver) is psycopg.Connection and driver.isolation_level in _USUAL_ISOLATION:
        simple_query(driver, "BEGIN")


_USUAL_ISOLATION = (None, psycopg.IsolationLevel.READ_COMMITTED)


def _sqlite_engine(url: URL, *, purpose: Purpose, pool_size: int) -> Engine:
    arguments = {"timeout": SQLITE_BUSY_SECONDS, "check_same_thread": False, "factory": OwnConnection}
    options: dict[str, Any] = {"connect_args": arguments, "hide_parameters": True}
    if purpose == "engine":
        engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT", **options)
    else:
        engine = create_engine(url, poolclass=QueuePool, pool_size=pool_size, max_overflow=0, **options)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    if purpose == "handlers":
        # SQLAlchemy begins at the first statement: a slow handler holds the write lock no longer than it must. Not by
        # its event `begin`: after one that has failed, as the database was locked, SQLAlchemy 2.1 takes the connection
        # for one that is just beginning, for ever, and each statement on it commits by itself.
        engine.dialect.do_begin = _begin_immediately  # type: ignore[method-assign]
    return engine


def _begin_immediately(dbapi_connection: Any) -> None:
    dbapi_connection.cursor().execute("BEGIN IMMEDIATE")
