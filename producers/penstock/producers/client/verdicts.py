"""What to tell the caller of a job that has no confirm: pure functions from what is known to an error."""

from dataclasses import dataclass

from penstock.producers.client.batch import Outgoing
from penstock.producers.client.endpoint import Endpoint
from penstock.producers.client.errors import (
    BrokerBlocked,
    BrokerUnavailable,
    InvalidJob,
    ProducerClosed,
    PublishError,
    PublishRefused,
    PublishTimeout,
    Unroutable,
)

_AGAIN = "publish again with the same key: the second one is absorbed"


@dataclass(frozen=True, slots=True)
class Standing:
    """How things stand with RabbitMQ; `trouble` is why there is no connection, if there is none."""

    endpoint: Endpoint
    ready: bool
    blocked: bool
    trouble: str


def overdue(entry: Outgoing, standing: Standing) -> PublishError:
    """At the deadline."""
    message, where = entry.message, standing.endpoint
    if standing.blocked:
        text = f"{where} takes no messages: a memory or disk alarm is on. Clear it, then {_AGAIN}"
        return BrokerBlocked(text, job_id=message.id, outcome_unknown=entry.sent)
    if entry.nacks:
        text = (
            f"{where} refused {message.type} {entry.nacks} times (NACK): is its queue full, "
            f"or without a majority of its nodes? Then {_AGAIN}"
        )
        return PublishTimeout(text, job_id=message.id, outcome_unknown=True)
    if standing.ready or entry.sent:
        trouble = "" if standing.ready else f" ({standing.trouble})"
        sent = "outcome unknown" if entry.sent else "it was not sent"
        text = f"{where} did not confirm before the deadline{trouble}; {sent}: {_AGAIN}"
        return PublishTimeout(text, job_id=message.id, outcome_unknown=entry.sent)
    return unavailable(entry, where, f"{standing.trouble}. Is it running, and is the address right?")


def unavailable(entry: Outgoing, endpoint: Endpoint, trouble: str) -> PublishError:
    """Without a connection, or refused one."""
    text = f"no connection to RabbitMQ at {endpoint}: {trouble}"
    return BrokerUnavailable(text, job_id=entry.message.id, outcome_unknown=entry.sent)


def unroutable(entry: Outgoing) -> PublishError:
    """Returned, because no binding matched."""
    job_type = entry.message.type
    remedy = "start a worker that handles it, or run `penstock rebuild --jobs MODULE`"
    text = f"no queue is bound for type {job_type}: {remedy}"
    return Unroutable(text, job_type=job_type, job_id=entry.message.id)


def refused(entry: Outgoing, reply: str) -> PublishError:
    """RabbitMQ closed the channel for this message."""
    remedy = "check the user's permissions and the broker's max_message_size"
    return PublishRefused(f"RabbitMQ refuses this {entry.message.type}: {reply}; {remedy}", job_id=entry.message.id)


def unencodable(entry: Outgoing, error: Exception) -> PublishError:
    """pika could not write it."""
    text = f"{entry.message.type} does not fit into AMQP properties: {type(error).__name__}"
    return InvalidJob(text, job_id=entry.message.id)


def closed(entry: Outgoing) -> PublishError:
    """The time that `close` gave was over."""
    text = f"the producer was closed before RabbitMQ confirmed; {_AGAIN}"
    return ProducerClosed(text, job_id=entry.message.id, outcome_unknown=entry.sent)
