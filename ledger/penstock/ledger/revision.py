"""Which schema a ledger has, and whether it is fit for this release; free of Alembic, for the workers' sake.

A revision is a number of four digits. One that ends in another number (`0012-0009`) takes something away: it is for
releases that know at least that other one, and all that follow say so too. Any other only adds.
"""

import re
from pathlib import Path

from sqlalchemy import inspect, text

from penstock.ledger.database import Session

_VERSIONS = Path(__file__).parent / "migrations" / "versions"
_REVISION = re.compile(r"(?P<number>\d{4})(-(?P<oldest>\d{4}))?")


class SchemaUnfit(RuntimeError):
    """The ledger's schema is too old or too new for this release; the text says what to do."""


def check_schema(session: Session) -> str:
    """What is to be said of the ledger's schema; raises `SchemaUnfit` unless this release can run on it."""
    return judge_schema(revision_of(session), known=known_revisions())


def judge_schema(current: str | None, *, known: list[str]) -> str:
    """The same for a ledger at `current`, and a release that knows these revisions, the oldest first."""
    if current is None:
        raise SchemaUnfit("the ledger has no tables yet: run `penstock migrate`")
    if current == known[-1]:
        return "as this release needs it"
    if current in known:
        raise SchemaUnfit(f"the ledger's schema is at {current}, this release needs more: run `penstock migrate`")
    check_newer(current, known=known)
    return f"at {current}, newer than this release ({known[-1]}), which runs on it too"


def check_newer(current: str, *, known: list[str]) -> None:
    """Raises `SchemaUnfit` if a release that does not know this revision cannot run on it."""
    read = _REVISION.fullmatch(current)
    if read is None:
        raise SchemaUnfit(
            f"the table alembic_version holds {current!r}, which is no revision of Penstock's: let the other program "
            "keep its own in a table of another name (Alembic's `version_table`)"
        )
    newest = known[-1].partition("-")[0]
    if read["oldest"] is not None and read["oldest"] > newest:
        raise SchemaUnfit(
            f"the ledger's schema is at {current}, too new for this release: install one that knows revision "
            f"{read['oldest']}, this one knows up to {newest}"
        )


def revision_of(session: Session) -> str | None:
    """The schema that the ledger has; None without tables."""
    if not inspect(session.connection).has_table("alembic_version"):
        return None
    found: str | None = session.connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def known_revisions() -> list[str]:
    """The revisions of this release, the oldest first: each file of a migration begins with its own."""
    return sorted(file.name.partition("_")[0] for file in _VERSIONS.glob("[0-9]*.py"))
