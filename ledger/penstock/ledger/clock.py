"""The database's clock: the only one that decides what is due."""

from typing import Any

from sqlalchemy import literal_column

from penstock.ledger.dialects import Dialect
from penstock.ledger.tables import Time


def now(dialect: Dialect) -> Any:
    """An SQL expression for the current time."""
    return literal_column(dialect.now, Time())


def later(dialect: Dialect, seconds: float) -> Any:
    """An SQL expression for the time `seconds` from now."""
    return literal_column(dialect.later(f"{float(seconds):f}"), Time())
