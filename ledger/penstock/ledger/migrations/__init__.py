"""The schema of the ledger, in steps: expand first, contract in a later release.

Each step runs with a lock timeout, so that a migration that cannot get its lock fails instead of holding up
every worker behind it.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from penstock.ledger.database import Ledger, LedgerUnavailable, Session

# Two migrations at once wait for each other here instead of failing half-way.
_ADVISORY_LOCK = 7_460_113


class SchemaOutdated(RuntimeError):
    """The ledger's schema is not the one this release needs; the text says what to run."""


def migrate(url: str) -> None:
    """Bring the ledger at `url` to this release's schema; raises `LedgerUnavailable`. Safe to run many at once."""
    ledger = Ledger(url)
    with ledger.session() as session, session.transaction():
        if session.dialect.name == "postgresql":
            session.connection.exec_driver_sql("SET LOCAL statement_timeout = '10min'")
            session.connection.exec_driver_sql("SET LOCAL lock_timeout = '60s'")
            session.connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
            session.connection.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
        command.upgrade(_config(session.connection), "head")


def check_schema(session: Session) -> None:
    """Raises `SchemaOutdated` unless the ledger has at least the schema that this code knows."""
    current = MigrationContext.configure(session.connection).get_current_revision()
    script = ScriptDirectory.from_config(_config(None))
    if current is None:
        raise SchemaOutdated("the ledger has no tables yet: run `penstock migrate`")
    known = {revision.revision for revision in script.walk_revisions()}
    # A newer schema than ours is fine: migrations expand, so that the old code runs on it during a deploy.
    if current in known and current != script.get_current_head():
        raise SchemaOutdated(f"the ledger's schema is at {current}, this release needs more: run `penstock migrate`")


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


__all__ = ["LedgerUnavailable", "SchemaOutdated", "check_schema", "migrate"]
