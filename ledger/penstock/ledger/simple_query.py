"""A simple query: statements without parameters and without rows, in one round trip, past psycopg's cursors."""

from typing import Any

import psycopg
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus

_DONE = (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK)


def simple_query(driver: "psycopg.Connection[Any]", statements: str) -> None:
    """Raises what psycopg would raise."""
    result = driver.pgconn.exec_(statements.encode())
    if result.status not in _DONE:
        refused = error_from_result(result)
        # Without a code it is libpq that speaks: the connection is lost.
        raise refused if refused.sqlstate else psycopg.OperationalError(str(refused))
