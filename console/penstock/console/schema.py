"""The ledger's schema: what it is, and what bringing it up to date has done."""

from dataclasses import dataclass
from pathlib import Path

from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from penstock.ledger import migrations
from penstock.ledger.database import Ledger, Session


@dataclass(frozen=True, slots=True)
class Migration:
    """`before` and `after` are revisions, `before` is None for an empty database; `applied` the steps between."""

    before: str | None
    after: str
    applied: list[str]

    def __str__(self) -> str:
        if self.applied:
            steps = f"{len(self.applied)} step{'s' if len(self.applied) > 1 else ''}"
            return f"migrated from {self.before or 'nothing'} to {self.after} ({steps})"
        return f"nothing to do, the schema is at {self.after}"


def bring_up_to_date(ledger: Ledger) -> Migration:
    """Migrate to this release's schema. One that is newer already is left alone, as in the middle of a deploy."""
    known = known_revisions()
    before = _revision_at(ledger)
    if before is not None and before not in known:
        return Migration(before, before, [])
    migrations.migrate(ledger.url.render_as_string(hide_password=False))
    after = _revision_at(ledger) or known[-1]
    applied = known[known.index(before) + 1 if before else 0 : known.index(after) + 1]
    return Migration(before, after, applied)


def revision_of(session: Session) -> str | None:
    """The schema that the ledger has."""
    return MigrationContext.configure(session.connection).get_current_revision()


def known_revisions() -> list[str]:
    """The revisions of this release, the oldest first."""
    script = ScriptDirectory(str(Path(migrations.__file__).parent))
    return [revision.revision for revision in script.walk_revisions()][::-1]


def _revision_at(ledger: Ledger) -> str | None:
    with ledger.session() as session:
        return revision_of(session)
