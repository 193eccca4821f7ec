"""Dead letters in groups, and one by one."""

from penstock.console.job_tables import as_document, print_dead
from penstock.console.opening import opened_ledger, time_of
from penstock.console.printing import briefly, print_json_lines, print_line, print_table
from penstock.ledger.dead_letters import Selection, group_dead, list_dead

GROUP_FIELDS = ("jobs", "type", "reason", "fingerprint", "error", "latest")


def list_groups(selection: Selection, *, limit: int, as_json: bool) -> None:
    """What failed in the same way is one line."""
    with opened_ledger() as session:
        groups = [group for group in group_dead(session) if is_in(group, selection)][:limit]
        now = time_of(session)
    if as_json:
        print_json_lines({name: group[name] for name in GROUP_FIELDS} for group in groups)
    elif not groups:
        print_line("no dead letters")
    else:
        rows = [
            (
                str(group["jobs"]),
                f"{group['type']}\n{group['error'] or ''}".rstrip(),
                group["reason"] or "",
                group["fingerprint"] or "",
                briefly(group["latest"], now),
            )
            for group in groups
        ]
        columns = ("jobs", "type, and an error", "reason", "fingerprint", "latest")
        print_table(columns, rows, keep=("jobs", "reason", "fingerprint", "latest"))


def list_each(selection: Selection, *, limit: int, as_json: bool) -> None:
    """One line for each dead letter, the newest first."""
    with opened_ledger() as session:
        found = list_dead(session, selection=selection, limit=limit)
        now = time_of(session)
    if as_json:
        print_json_lines(as_document(job) for job in found)
    else:
        print_dead(found, now, more=len(found) == limit)


def is_in(group: dict[str, object], selection: Selection) -> bool:
    """Whether a group of `group_dead` is selected; not for selections by id."""
    wanted = {"type": selection.type, "fingerprint": selection.fingerprint, "reason": selection.reason}
    return all(value is None or group[name] == value for name, value in wanted.items())
