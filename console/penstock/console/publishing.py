"""One job from the command line, on its way through RabbitMQ or into the ledger."""

import dataclasses
from dataclasses import dataclass
from datetime import datetime

from penstock.console.broker import LOCAL, checked_broker_url
from penstock.console.due import parse_due
from penstock.console.embedded import prepared
from penstock.console.exits import bad_input
from penstock.console.modules import entry_for, loaded
from penstock.console.payload import raw_message, read_payload
from penstock.console.settings import ConsoleSettings, keyring_of
from penstock.console.surroundings import keep_quiet
from penstock.producers.client import Producer, Publisher, Receipt
from penstock.producers.client.producer import receipt_of
from penstock.producers.ledger_producer import LedgerProducer
from penstock.schemas import Job, Message
from penstock.schemas.contract import check_name
from penstock.schemas.sensitive import Seals

APP_ID = "penstock-command"
TIMEOUT_SECONDS = 10.0


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
    body = read_payload(order.payload)
    due_at = parse_due(order.due)
    message = raw_message(type=order.type, body=body, version=order.version or 1, key=order.key, due_at=due_at)
    if not order.modules:
        return _send(message, queue=order.queue, broker_url=broker_url, database_url=settings.database_url)
    registry = loaded(order.modules, database_url=settings.database_url)
    entry = entry_for(registry, order.type, modules=order.modules, version=order.version, queue=order.queue)
    payload = entry.read(body, Seals(None, takes_clear=True))  # it is sealed on its way from here
    contract = entry.contract
    if not isinstance(payload, Job):  # a Dramatiq actor
        message = dataclasses.replace(message, version=contract.version)
        return _send(message, queue=contract.queue, broker_url=broker_url, database_url=settings.database_url)
    return _send_job(payload, order.key, due_at, settings)


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
    if queue is not None:
        raise bad_input(f"--queue {queue}: RabbitMQ's bindings say which queues get a type; leave it out")
    publisher = Publisher(broker_url, name=APP_ID, timeout_seconds=TIMEOUT_SECONDS)
    try:
        return receipt_of(publisher.submit_many((message,)).wait())
    finally:
        publisher.close()
