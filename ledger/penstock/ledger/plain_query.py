"""A query without parameters and without rows, on the connection of a handler.

SQLAlchemy makes a context and a result of each statement, psycopg a cursor: a quarter of what a handler's transaction
costs a worker. libpq does not need them.
"""

from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection

from penstock.ledger.database import dressed
from penstock.ledger.simple_query import simple_query


def run_plainly(connection: Connection, statements: str) -> None:
    """Run them in one round trip, in the transaction of a connection to Postgres; raises SQLAlchemy's `DBAPIError`."""
    driver: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
    begin = "BEGIN; " if driver.pgconn.transaction_status == TransactionStatus.IDLE else ""
    try:
        simple_query(driver, f"{begin}{statements}")
    except psycopg.Error as error:
        raise dressed(error, connection) from error
