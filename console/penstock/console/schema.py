"""The ledger's schema: what it is, and what bringing it up to date has done."""

from dataclasses import dataclass

from penstock.ledger.database import Ledger
from penstock.ledger.revision import check_newer, known_revisions, revision_of


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
    """Migrate to this release's schema. One that is newer already is left alone, as in the middle of a deploy.

    Raises `SchemaUnfit` if it is too new for this release.
    """
    known = known_revisions()
    before = _revision_at(ledger)
    if before is not None and before not in known:
        check_newer(before, known=known)
    if before is not None and (before not in known or before == known[-1]):
        return Migration(before, before, [])
    from penstock.ledger.migrations import migrate  # noqa: PLC0415 - a worker must not carry Alembic about

    migrate(ledger.url.render_as_string(hide_password=False))
    after = _revision_at(ledger) or known[-1]
    applied = known[known.index(before) + 1 if before else 0 : known.index(after) + 1]
    return Migration(before, after, applied)


def _revision_at(ledger: Ledger) -> str | None:
    with ledger.session() as session:
        return revision_of(session)
