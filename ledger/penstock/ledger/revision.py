"""Which schema a ledger has, and whether it is fit for this release; free of Alembic, for the workers' sake.

A revision is a number of four digits. One that ends in another number (`0012-0009`) takes something away: it is for
releases that know at least that other one, and all that follow say so too. Any other only adds.
"""

import re
from pathlib import Path

from sqlalchemy import inspect, text

from penstock.ledger.database import Session

VERSION_TABLE = "penstock_revision"
# Alembic's own name for it, which is everybody's: up to revision 0008 ours stood there too.
SHARED_TABLE = "alembic_version"
_MADE_FIRST = {"aliases", "attempts", "audit", "dedup_keys", "effects", "jobs", "leases", "processes", "quarantine"}

_VERSIONS = Path(__file__).parent / "migrations" / "versions"
_REVISION = re.compile(r"\d{4}(-\d{4})?")


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
    oldest, newest = current.partition("-")[2], known[-1].partition("-")[0]
    if oldest > newest:
        raise SchemaUnfit(
            f"the ledger's schema is at {current}, too new for this release: install one that knows revision "
            f"{oldest}, this one knows up to {newest}"
        )


def revision_of(session: Session) -> str | None:
    """The schema that the ledger has; None without tables. Raises `SchemaUnfit` if nothing says which.

    What stands in Alembic's own table, and beside no ledger, is not ours.
    """
    there = set(inspect(session.connection).get_table_names())
    table = VERSION_TABLE if VERSION_TABLE in there else SHARED_TABLE
    if table == SHARED_TABLE and not there >= _MADE_FIRST:
        return None
    query = text(f"SELECT version_num FROM {table}")
    found = list(session.connection.execute(query).scalars()) if table in there else []
    if len(found) == 1 and _REVISION.fullmatch(found[0]):
        return str(found[0])
    raise SchemaUnfit(
        f"nothing says which revision the ledger's tables have, {table} holds {', '.join(found) or 'none'}: let the "
        f"table {VERSION_TABLE} hold the one that `penstock migrate` said last, as `version_num`"
    )


def known_revisions() -> list[str]:
    """The revisions of this release, the oldest first: each file of a migration begins with its own."""
    return sorted(file.name.partition("_")[0] for file in _VERSIONS.glob("[0-9]*.py"))
