"""Replaying and discarding: asks with the count first, and says what had been done before."""

from dataclasses import dataclass
from datetime import datetime

import typer

from penstock.console.dead_lists import is_in
from penstock.console.exits import Code, bad_input, problem
from penstock.console.opening import job_id_of, opened_ledger, time_of
from penstock.console.printing import print_json, print_line
from penstock.console.settings import actor_of
from penstock.ledger.audit import list_audit
from penstock.ledger.database import Session
from penstock.ledger.dead_letters import Selection, discard_dead, group_dead, replay_dead
from penstock.ledger.durations import ago
from penstock.ledger.jobs import show_job

AUDIT_ROWS_MAX = 1000
KEY_CONFLICT = "key_conflict"


def selected(
    ids: list[str] | None, *, job_type: str | None, fingerprint: str | None, reason: str | None, everything: bool
) -> Selection:
    """What the command line selects; nothing at all must be said as `--all`."""
    restricts = bool(ids) or any(value is not None for value in (job_type, fingerprint, reason))
    if not restricts and not everything:
        raise bad_input("which ones? Give ids, --type, --fingerprint, --reason, or --all")
    if restricts and everything:
        raise bad_input("--all does not go with ids, --type, --fingerprint or --reason: leave one out")
    return Selection(
        ids=tuple(dict.fromkeys(map(job_id_of, ids))) if ids else None,
        type=job_type,
        fingerprint=fingerprint,
        reason=reason,
    )


def replay(selection: Selection, *, per_second: float | None, yes: bool, actor: str | None, as_json: bool) -> Code:
    """Exit code 1 if nothing was replayed and nothing had been before."""
    who = actor_of(actor)
    with opened_ledger() as session:
        selection = _by_first_ids(session, selection)
        before, count = _Earlier.of(session, selection), _count(session, selection)
        now = time_of(session)
        _confirm(f"replay {_letters(count.open)}", yes=yes or not count.open)
        ids = replay_dead(session, selection=selection, actor=who, per_second=per_second) if count.open else []
    if as_json:
        document = {
            "replayed": len(ids),
            "already_replayed": before.without(ids),
            "key_conflicts": count.conflicts,
            "ids": ids,
        }
        print_json(document)
    else:
        pace = f", at {per_second:g} per second" if per_second and ids else ""
        print_line(f"replayed {_letters(len(ids))}{pace}{before.said(ids, now)}{count.said_of_conflicts}")
    return Code.DONE if ids or before.ids else Code.PROBLEM


def discard(selection: Selection, *, yes: bool, actor: str | None, as_json: bool) -> Code:
    """Exit code 1 if there was nothing to discard."""
    who = actor_of(actor)
    with opened_ledger() as session:
        selection = _by_first_ids(session, selection)
        count = _count(session, selection)
        dead = count.open + count.conflicts
        _confirm(f"give up {_letters(dead)} for good", yes=yes or not dead)
        ids = discard_dead(session, selection=selection, actor=who) if dead else []
    if as_json:
        print_json({"discarded": len(ids), "ids": ids})
    else:
        print_line(f"discarded {_letters(len(ids))}")
    return Code.DONE if ids else Code.PROBLEM


@dataclass(frozen=True, slots=True)
class _Count:
    """Dead letters of a selection: those that a replay takes, and key conflicts, which it leaves."""

    open: int
    conflicts: int

    @property
    def said_of_conflicts(self) -> str:
        if not self.conflicts:
            return ""
        return f"; {_letters(self.conflicts)} with a key conflict left alone: another payload has their key"


def _count(session: Session, selection: Selection) -> _Count:
    if selection.ids is None:
        groups = [group for group in group_dead(session) if is_in(group, selection)]
        conflicts = sum(group["jobs"] for group in groups if group["reason"] == KEY_CONFLICT)
        return _Count(sum(group["jobs"] for group in groups) - conflicts, conflicts)
    found = [job for job_id in selection.ids if (job := show_job(session, job_id)) is not None]
    dead = [job for job in found if job["state"] == "dead" and is_in(job, selection)]
    conflicts = sum(job["reason"] == KEY_CONFLICT for job in dead)
    return _Count(len(dead) - conflicts, conflicts)


@dataclass(frozen=True, slots=True)
class _Earlier:
    """What the audit says of earlier replays of the same selection: jobs, who and when last."""

    ids: frozenset[str] = frozenset()
    actor: str = ""
    latest: datetime | None = None

    @classmethod
    def of(cls, session: Session, selection: Selection) -> "_Earlier":
        replays = [row for row in list_audit(session, limit=AUDIT_ROWS_MAX) if row["action"] == "replay"]
        hits = [(ids, row) for row in replays if (ids := _same(row, selection))]
        if not hits:
            return cls()
        latest = hits[0][1]
        return cls(frozenset().union(*(ids for ids, _ in hits)), latest["actor"], latest["created_at"])

    def without(self, ids: list[str]) -> int:
        """How many, but for these, which have been replayed again now."""
        return len(self.ids - set(ids))

    def said(self, ids: list[str], now: datetime) -> str:
        jobs = self.without(ids)
        return f"; {jobs} had been replayed already, last by {self.actor} {ago(self.latest, now)}" if jobs else ""


def _same(row: dict[str, str], selection: Selection) -> set[str]:
    """The jobs of an audited replay that the selection means: by id, or because the same was selected then."""
    targets = set(row["target"].split(", "))
    if selection.ids is not None:
        return targets & set(selection.ids)
    return targets if row["detail"].endswith(f"jobs of: {selection}") else set()


def _by_first_ids(session: Session, selection: Selection) -> Selection:
    """A duplicate's id stands for the job that it duplicates."""
    if selection.ids is None:
        return selection
    first = [str(job["id"]) if (job := show_job(session, job_id)) else job_id for job_id in selection.ids]
    return Selection(
        ids=tuple(dict.fromkeys(first)),
        type=selection.type,
        fingerprint=selection.fingerprint,
        reason=selection.reason,
    )


def _confirm(what: str, *, yes: bool) -> None:
    if not yes:
        agreed = typer.confirm(f"{what}?", err=True)
        if not agreed:
            raise problem("nothing was changed")


def _letters(count: int) -> str:
    return f"{count} dead letter" + ("" if count == 1 else "s")
