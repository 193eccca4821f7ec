"""RabbitMQ, as far as AMQP shows it: nothing is declared here, and nothing is left behind."""

import uuid
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from typing import Any

import pika
import pika.exceptions
from pika.exchange_type import ExchangeType

from penstock.console.doctor import management
from penstock.console.doctor.finding import Finding, ok, problem, skipped, warning
from penstock.console.failures import broker_text
from penstock.producers.client.endpoint import Endpoint
from penstock.schemas.message import EXCHANGE
from penstock.workers.lookout import NOT_FOUND
from penstock.workers.topology import PRECONDITION_FAILED, QUEUE_ARGUMENTS

VERSION_MIN = (3, 10)
ALARM_SECONDS = 3
REBUILD = "`penstock rebuild` declares it, and so does a worker when it starts"

Bindings = Mapping[str, AbstractSet[str]]


def check(url: str, bindings: Bindings, *, management_url: str | None) -> list[Finding]:
    """The broker, its alarms, the exchange, these queues and their bindings."""
    endpoint = Endpoint.read(url, name="penstock-doctor")
    endpoint.parameters.blocked_connection_timeout = ALARM_SECONDS
    try:
        with _connected(endpoint) as connection:
            findings = [_version(connection, endpoint), _encryption(endpoint), _exchange(connection)]
            findings += [_queue(connection, queue) for queue in sorted(bindings)]
            if management_url:
                findings.append(management.check_bindings(management_url, endpoint, bindings))
            else:
                findings.append(skipped("bindings", "AMQP does not show them; PENSTOCK_MANAGEMENT_URL would"))
            return [*findings, _alarms(connection)]
    except (pika.exceptions.AMQPError, OSError) as error:
        return [problem("broker", broker_text(url, error), "start it, or correct PENSTOCK_BROKER_URL")]


@contextmanager
def _connected(endpoint: Endpoint) -> Iterator[pika.BlockingConnection]:
    """A connection that, unlike pika's own context, may be broken by the time it is left."""
    connection = pika.BlockingConnection(endpoint.parameters)
    try:
        yield connection
    finally:
        if connection.is_open:
            connection.close()


def _version(connection: pika.BlockingConnection, endpoint: Endpoint) -> Finding:
    # The blocking adapter does not hand on what the server said of itself.
    said: dict[str, Any] = connection._impl.server_properties or {}  # type: ignore[attr-defined]  # noqa: SLF001
    name, version = _text(said.get("product", "an AMQP broker")), _text(said.get("version", ""))
    detail = f"{name} {version} at {endpoint}"
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers and numbers < VERSION_MIN:
        return warning("broker", detail, "upgrade: nothing older than RabbitMQ 3.10 was tested")
    return ok("broker", detail)


def _encryption(endpoint: Endpoint) -> Finding:
    if endpoint.parameters.ssl_options is not None:
        return ok("broker encryption", "TLS")
    if _is_loopback(endpoint.parameters.host):
        return ok("broker encryption", "none needed: the broker is on this host")
    return warning("broker encryption", "the connection is not encrypted", "use amqps:// in PENSTOCK_BROKER_URL")


def _exchange(connection: pika.BlockingConnection) -> Finding:
    """Exists, is a topic exchange, is durable: declaring what is there already changes nothing."""
    try:
        connection.channel().exchange_declare(EXCHANGE, passive=True)
    except pika.exceptions.ChannelClosedByBroker as error:
        return problem("exchange", f"{EXCHANGE}: {_reason(error)}", REBUILD)
    try:
        connection.channel().exchange_declare(
            EXCHANGE,
            exchange_type=ExchangeType.topic,  # type: ignore[arg-type]
            durable=True,
        )
    except pika.exceptions.ChannelClosedByBroker as error:
        if error.reply_code == PRECONDITION_FAILED:
            remedy = "delete it when no publisher is connected, then `penstock rebuild`"
            return problem("exchange", f"{EXCHANGE} is not what it must be: {error.reply_text}", remedy)
    return ok("exchange", f"{EXCHANGE}, topic, durable")


def _queue(connection: pika.BlockingConnection, queue: str) -> Finding:
    check_name = f"queue {queue}"
    try:
        found = connection.channel().queue_declare(queue, passive=True).method
    except pika.exceptions.ChannelClosedByBroker as error:
        return problem(check_name, _reason(error), REBUILD)
    try:
        connection.channel().queue_declare(queue, durable=True, arguments=QUEUE_ARGUMENTS)
    except pika.exceptions.ChannelClosedByBroker as error:
        if error.reply_code == PRECONDITION_FAILED:
            remedy = "empty and delete it, then `penstock rebuild`: no job is lost that the ledger knows"
            return problem(check_name, f"it is not what it must be: {error.reply_text}", remedy)
    return ok(check_name, f"quorum; ready {found.message_count}, consumers {found.consumer_count}")


def _alarms(connection: pika.BlockingConnection) -> Finding:
    """Publishes to nowhere, twice: under an alarm RabbitMQ reads one message from a publisher, and then no more."""
    channel = connection.channel()
    channel.confirm_delivery()
    try:
        for _ in range(2):
            with suppress(pika.exceptions.UnroutableError):
                channel.basic_publish("", f"penstock.doctor.{uuid.uuid4()}", b"", mandatory=True)
    except pika.exceptions.ConnectionBlockedTimeout:
        remedy = "look at `rabbitmqctl status`, free memory or disk; publishing goes on by itself then"
        return problem("alarms", "a memory or disk alarm is on: RabbitMQ takes no messages", remedy)
    return ok("alarms", "none: RabbitMQ takes messages")


def _reason(error: pika.exceptions.ChannelClosedByBroker) -> str:
    return "it does not exist" if error.reply_code == NOT_FOUND else str(error.reply_text)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
