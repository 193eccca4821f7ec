"""Which schema a ledger has, and whether it is enough for this release; free of Alembic, for the workers' sake."""

from pathlib import Path

from sqlalchemy import inspect, text

from penstock.ledger.database import Session

_VERSIONS = Path(__file__).parent / "migrations" / "versions"


class SchemaOutdated(RuntimeError):
    """The ledger's schema is not the one this release needs; the text says what to run."""


def check_schema(session: Session) -> None:
    """Raises `SchemaOutdated` unless the ledger has at least the schema that this code knows."""
    known, current = known_revisions(), revision_of(session)
    if current is None:
        raise SchemaOutdated("the ledger has no tables yet: run `penstock migrate`")
    # A newer schema than ours is fine: migrations expand, so that the old code runs on it during a deploy.
    if current in known and current != known[-1]:
        raise SchemaOutdated(f"the ledger's schema is at {current}, this release needs more: run `penstock migrate`")


def revision_of(session: Session) -> str | None:
    """The schema that the ledger has; None without tables."""
    if not inspect(session.connection).has_table("alembic_version"):
        return None
    found: str | None = session.connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def known_revisions() -> list[str]:
    """The revisions of this release, the oldest first: each file of a migration begins with its own."""
    return sorted(file.name.partition("_")[0] for file in _VERSIONS.glob("[0-9]*.py"))
