"""What the jobs of a schedule are made of, as the command line says it."""

from dataclasses import dataclass
from datetime import UTC, datetime

from penstock.console.exits import bad_input
from penstock.console.modules import entry_for, loaded
from penstock.console.payload import raw_message, read_payload
from penstock.console.settings import ConsoleSettings, keyring_of
from penstock.console.surroundings import keep_quiet
from penstock.producers.schedules.template import Template, at_tick, check_tick_field
from penstock.schemas import Job
from penstock.schemas.contract import check_name
from penstock.schemas.sensitive import Seals


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the command line says of the jobs that are to come."""

    type: str
    payload: str
    tick_field: str | None = None
    version: int | None = None
    modules: tuple[str, ...] = ()
    queue: str | None = None


def template_of(name: str, order: Order) -> Template:
    """The template, held against the contract where `--jobs` says which.

    Without it nobody knows the contract here, and a payload that breaks it is found at its tick.
    """
    keep_quiet()
    payload = read_payload(order.payload)
    raw_message(type=order.type, body=payload, version=order.version or 1)
    # A field that gets the time of each tick need not be there before.
    sample = at_tick(payload, order.tick_field, datetime.now(UTC))
    if not order.modules:
        if order.queue is None:
            raise bad_input("--queue or --jobs is needed: nothing else says which queue it is")
        check_name("queue", order.queue)
        return Template(
            type=order.type,
            version=order.version or 1,
            queue=order.queue,
            payload=payload,
            tick_field=order.tick_field,
        )
    settings = ConsoleSettings()
    registry = loaded(order.modules, database_url=settings.database_url)
    entry = entry_for(registry, order.type, modules=order.modules, version=order.version, queue=order.queue)
    job = entry.read(sample, Seals(None, takes_clear=True))  # it is sealed on its way from here
    if isinstance(job, Job):
        if order.tick_field is not None:
            check_tick_field(job, order.tick_field)
        return Template.of(job, name=name, tick_field=order.tick_field, keyring=keyring_of(settings.keyring))
    if order.tick_field is not None:  # a Dramatiq actor
        raise bad_input(f"--tick-field {order.tick_field}: {order.type} is an actor, which has arguments and no fields")
    contract = entry.contract
    return Template(type=contract.type, version=contract.version, queue=contract.queue, payload=payload)
