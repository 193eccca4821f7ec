"""A broker that was lost is made from what the ledger and the handlers know."""

from sqlalchemy import select

from penstock.console.broker import LOCAL, checked_broker_url
from penstock.console.exits import Code, bad_input
from penstock.console.modules import loaded
from penstock.console.opening import opened_ledger
from penstock.console.printing import plain, print_json, print_line, print_table
from penstock.console.settings import ConsoleSettings, actor_of
from penstock.console.surroundings import keep_quiet
from penstock.ledger.audit import record
from penstock.ledger.database import Session
from penstock.ledger.dispatches import unmark_all
from penstock.ledger.state import WAITING
from penstock.ledger.tables import jobs
from penstock.workers import topology
from penstock.workers.topology import Topology

NAME = "penstock-rebuild"


def rebuild(modules: tuple[str, ...], *, actor: str | None, as_json: bool) -> Code:
    """Declare, then dispatch again; exit code 1 if RabbitMQ refused a queue."""
    keep_quiet()
    settings, who = ConsoleSettings(), actor_of(actor)
    if checked_broker_url(settings.broker_url) == LOCAL:
        raise bad_input("PENSTOCK_BROKER_URL is local: there is no broker to rebuild")
    bindings = loaded(modules, database_url=settings.database_url).bindings() if modules else {}
    with opened_ledger() as session:
        for queue, types in waiting_bindings(session).items():
            bindings.setdefault(queue, set()).update(types)
        found = topology.declare(settings.broker_url, bindings, name=NAME)
        with session.transaction():
            again = unmark_all(session)
            record(session, actor=who, action="rebuild", target="broker", detail=f"{again} jobs dispatched again")
    if as_json:
        print_json(
            {
                "queues": {queue: sorted(types) for queue, types in sorted(bindings.items())},
                "declared_anew": sorted(found.anew),
                "refused": found.refused,
                "dispatched_again": again,
            }
        )
    else:
        _print(bindings, found, again)
    return Code.PROBLEM if found.refused else Code.DONE


def waiting_bindings(session: Session) -> dict[str, set[str]]:
    """Job types by queue, of the jobs that wait in the ledger."""
    bindings: dict[str, set[str]] = {}
    query = select(jobs.c.queue, jobs.c.type).where(jobs.c.state.in_(WAITING)).distinct()
    for queue, job_type in session.connection.execute(query):
        bindings.setdefault(queue, set()).add(job_type)
    return bindings


def _print(bindings: dict[str, set[str]], found: Topology, again: int) -> None:
    if bindings:
        rows = [(queue, _outcome(queue, found), ", ".join(sorted(types))) for queue, types in sorted(bindings.items())]
        print_table(("queue", "", "bound types"), rows, keep=("queue",))
    waits = "" if bindings else "; no job waits, so no queue was declared (--jobs names those of handlers)"
    print_line(f"{again} job{'' if again == 1 else 's'} on the way will be dispatched again{waits}")


def _outcome(queue: str, found: Topology) -> str:
    if queue in found.refused:
        return f"problem: {plain(found.refused[queue])}"
    return "declared anew" if queue in found.anew else "was there"
