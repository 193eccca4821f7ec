"""The schema of the ledger, in steps: expand first, contract in a later release.

Each step runs with a lock timeout, so that a migration that cannot get its lock fails instead of holding up
every worker behind it.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from penstock.ledger.database import Ledger

# Two migrations at once wait for each other here instead of failing half-way.
_ADVISORY_LOCK = 7_460_113


def migrate(url: str) -> None:
    """Bring the ledger at `url` to this release's schema; raises `LedgerUnavailable`. Safe to run many at once."""
    ledger = Ledger(url)
    with ledger.session(is_patient=True) as session, session.transaction():
        if session.dialect.name == "postgresql":
            session.connection.exec_driver_sql("SET LOCAL statement_timeout = '10min'")
            session.connection.exec_driver_sql("SET LOCAL lock_timeout = '60s'")
            session.connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
            session.connection.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
        command.upgrade(_config(session.connection), "head")


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
