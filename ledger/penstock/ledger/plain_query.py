"""A query without parameters and without rows, on the connection of a handler.

SQLAlchemy makes a context and a result of each statement, psycopg a cursor: half of what a handler's transaction costs
a worker. libpq does not need them.
"""

from functools import partial
from typing import NoReturn

import psycopg
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, TransactionStatus
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from penstock.ledger.database import hide_row

_DONE = (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK)


def run_plainly(connection: Connection, statements: str) -> None:
    """Run them in one round trip, in the transaction of a connection to Postgres; raises SQLAlchemy's `DBAPIError`."""
    driver: psycopg.Connection[object] = connection.connection.driver_connection  # type: ignore[assignment]
    begin = "BEGIN; " if driver.pgconn.transaction_status == TransactionStatus.IDLE else ""
    try:
        result = driver.pgconn.exec_(f"{begin}{statements}".encode())
    except psycopg.Error as error:
        _refuse(connection, driver, error)
    if result.status not in _DONE:
        _refuse(connection, driver, error_from_result(result))


def _refuse(connection: Connection, driver: psycopg.Connection[object], error: psycopg.Error) -> NoReturn:
    is_lost = driver.closed or driver.broken
    as_sqlalchemy = partial(DBAPIError.instance, hide_parameters=True, dialect=connection.dialect)
    shown = as_sqlalchemy(None, None, error, psycopg.Error, connection_invalidated=is_lost)
    hide_row(error, shown)
    if is_lost:
        connection.invalidate(error)
    raise shown from error
