"""One job from the command line, on its way through RabbitMQ or into the ledger."""

import dataclasses
import sys
from dataclasses import dataclass
from datetime import datetime

from penstock.console.broker import LOCAL, checked_broker_url
from penstock.console.due import parse_due
from penstock.console.embedded import prepared
from penstock.console.exits import bad_input
from penstock.console.modules import loaded
from penstock.console.settings import ConsoleSettings, keyring_of
from penstock.console.surroundings import keep_quiet
from penstock.producers.client import Producer, Publisher, Receipt
from penstock.producers.client.producer import receipt_of
from penstock.producers.ledger_producer import LedgerProducer
from penstock.schemas import Job, Message, UnreadableMessage
from penstock.schemas.contract import check_name
from penstock.schemas.sensitive import Seals
from penstock.workers import Registry
from penstock.workers.entry import Entry

APP_ID = "penstock-command"
TIMEOUT_SECONDS = 10.0
# Where on the command line each part of a message stands.
WORDS = {"type": "TYPE:", "body": "JSON:", "dedup-key": "--key:", "version": "--version:"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the command line says."""

    type: str
    payload: str
    key: str | None
    due: str | None
    version: int | None
    modules: tuple[str, ...]
    queue: str | None


def place(order: Order) -> Receipt:
    """Publish it; raises what `failures.explain` explains."""
    keep_quiet()
    settings = ConsoleSettings()
    broker_url = checked_broker_url(settings.broker_url)
    body = (sys.stdin.read() if order.payload == "-" else order.payload).encode("utf-8", "surrogateescape")
    due_at = parse_due(order.due)
    message = _message(order, body, due_at)
    if not order.modules:
        return _send(message, queue=order.queue, broker_url=broker_url, database_url=settings.database_url)
    entry = _entry(loaded(order.modules, database_url=settings.database_url), order)
    payload = entry.read(body, Seals(None, takes_clear=True))  # it is sealed on its way from here
    contract = entry.contract
    if not isinstance(payload, Job):  # a Dramatiq actor
        message = dataclasses.replace(message, version=contract.version)
        return _send(message, queue=contract.queue, broker_url=broker_url, database_url=settings.database_url)
    return _send_job(payload, order.key, due_at, settings)


def _message(order: Order, body: bytes, due_at: datetime | None) -> Message:
    """The message as the wire has it; what is wrong with it is said in the words of the command line."""
    try:
        return Message.raw(type=order.type, body=body, version=order.version or 1, key=order.key, due_at=due_at)
    except UnreadableMessage as error:
        raise bad_input(f"{WORDS.get(error.part, '')} {error}".strip()) from None


def _entry(registry: Registry, order: Order) -> Entry:
    """The handler that the job is meant for: of the version asked for, else of the newest."""
    versions = {entry.contract.version: entry for entry in registry if order.type in entry.contract.names}
    if not versions:
        known = ", ".join(sorted({entry.contract.type for entry in registry}))
        raise bad_input(f"{order.type}: --jobs {', '.join(order.modules)} has no handler for it; it has {known}")
    version = max(versions) if order.version is None else order.version
    if version not in versions:
        known = ", ".join(map(str, sorted(versions)))
        raise bad_input(f"--version {version}: {order.type} is handled in version {known}")
    entry = versions[version]
    if order.queue not in (None, entry.contract.queue):
        raise bad_input(
            f"--queue {order.queue}: the contract of {order.type} says {entry.contract.queue}; leave it out"
        )
    return entry


def _send_job(job: Job, key: str | None, due_at: datetime | None, settings: ConsoleSettings) -> Receipt:
    keyring = keyring_of(settings.keyring)
    if settings.broker_url == LOCAL:
        prepared(settings.database_url)
        return LedgerProducer(settings.database_url, app_id=APP_ID, keyring=keyring).publish(
            job, key=key, due_at=due_at
        )
    with Producer(settings.broker_url, app_id=APP_ID, timeout_seconds=TIMEOUT_SECONDS, keyring=keyring) as producer:
        return producer.publish(job, key=key, due_at=due_at)


def _send(message: Message, *, queue: str | None, broker_url: str, database_url: str) -> Receipt:
    message = dataclasses.replace(message, app_id=APP_ID)
    if broker_url == LOCAL:
        if queue is None:
            raise bad_input("--queue or --jobs is needed where there is no broker: nothing else says which queue it is")
        check_name("queue", queue)
        prepared(database_url)
        return LedgerProducer(database_url).publish_message(message, queue=queue)
    publisher = Publisher(broker_url, name=APP_ID, timeout_seconds=TIMEOUT_SECONDS)
    try:
        return receipt_of(publisher.submit_many((message,)).wait())
    finally:
        publisher.close()
