"""What the code declares comes into the ledger when a worker starts."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from penstock.ledger.database import Session, retry_serialization
from penstock.ledger.schedules import Schedule, add_schedule, change_schedule, lock_schedule, remove_schedules
from penstock.producers.schedules.cron import Cron
from penstock.producers.schedules.declaration import Declaration
from penstock.schemas import Keyring


class Said(NamedTuple):
    """A line for the log; `is_trouble`: a schedule of the code does not come."""

    text: str
    is_trouble: bool = False


@retry_serialization
def declare(
    session: Session, declared: Mapping[str, Sequence[Declaration]], *, keyring: Keyring | None = None
) -> list[Said]:
    """Bring the schedules of these modules up to date; returns a line for each that is new, changed, gone or shadowed.

    What somebody has changed at run time stays, until the code says something else than it did before. A schedule
    that its module does not declare any more fires no more; it stays to be seen. One that was added at run time under
    the same name stays as it is. Raises `KeyringError` where a job has sensitive fields and nobody a key.
    """
    said = []
    with session.transaction():
        for module, declarations in sorted(declared.items()):
            for declaration in sorted(declarations, key=lambda it: it.name):
                said += _put(session, declaration, module, keyring)
        names = [declaration.name for declarations in declared.values() for declaration in declarations]
        gone = remove_schedules(session, modules=sorted(declared), but=names)
    return said + [Said(f"{name}: is not in the code any more, and fires no more") for name in gone]


def _put(session: Session, declaration: Declaration, module: str, keyring: Keyring | None) -> list[Said]:
    columns = {"module": module, **declaration.columns(keyring)}
    timing = declaration.timing
    if add_schedule(session, declaration.name, **columns, **timing.columns()):
        known = lock_schedule(session, declaration.name)
        if known is not None:
            change_schedule(session, declaration.name, next_at=next_after(known, timing.cron, timing.timezone))
        return [Said(f"{declaration.name}: is new")]
    known = lock_schedule(session, declaration.name)
    if known is None:  # somebody has removed it just now
        return _put(session, declaration, module, keyring)
    if not known.is_declared:
        room = f"`penstock schedules remove {known.name}` makes room for the one of the code"
        return [Said(f"{known.name}: was added at run time, which stays as it is; {room}", is_trouble=True)]
    is_back, is_changed = known.removed_at is not None, json.loads(known.declared) != timing.columns()
    if is_changed or is_back:
        columns |= timing.columns()
        columns["removed_at"] = None
        if is_back or (known.cron, known.timezone) != (timing.cron, timing.timezone):
            columns["next_at"] = next_after(known, timing.cron, timing.timezone)
    change_schedule(session, declaration.name, **columns)
    if is_back:
        return [Said(f"{declaration.name}: is back in the code")]
    return [Said(f"{declaration.name}: has changed in the code")] if is_changed else []


def next_after(schedule: Schedule, cron: str, timezone: str) -> datetime | None:
    """The next tick from now on; never one that has fired already, though the transaction may have waited long."""
    since = schedule.now if schedule.last_tick is None else max(schedule.now, schedule.last_tick)
    return Cron(cron, timezone).after(since)
