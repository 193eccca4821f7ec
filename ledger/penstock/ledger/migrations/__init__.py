"""The schema of the ledger, in steps: expand first, contract in a later release.

Each step runs with a lock timeout, so that a migration that cannot get its lock fails instead of holding up
every worker behind it.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, inspect

from penstock.ledger.database import Ledger, Session
from penstock.ledger.revision import SHARED_TABLE, VERSION_TABLE, revision_of

# Two migrations at once wait for each other here instead of failing half-way.
_ADVISORY_LOCK = 7_460_113


def migrate(url: str) -> None:
    """Bring the ledger at `url` to this release's schema. Safe to run many at once.

    Raises `LedgerUnavailable` and `SchemaUnfit`.
    """
    ledger = Ledger(url)
    with ledger.session(is_patient=True) as session, session.transaction():
        if session.dialect.name == "postgresql":
            session.connection.exec_driver_sql("SET LOCAL statement_timeout = '10min'")
            session.connection.exec_driver_sql("SET LOCAL lock_timeout = '60s'")
            session.connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
            session.connection.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
        config = _config(session.connection)
        before = revision_of(session)
        if before is not None and not inspect(session.connection).has_table(VERSION_TABLE):
            _leave_shared_table(session, config, revision=before)
        command.upgrade(config, "head")


def _leave_shared_table(session: Session, config: Config, *, revision: str) -> None:
    """Move the revision to a table of our own. Releases that look for it under the old name see it there all the same.

    A view is what no other program would take for its own, and it cannot fall behind.
    """
    command.stamp(config, revision)
    session.connection.exec_driver_sql(f"DROP TABLE {SHARED_TABLE}")
    session.connection.exec_driver_sql(f"CREATE VIEW {SHARED_TABLE} AS SELECT version_num FROM {VERSION_TABLE}")


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
