"""The thin client: publishes jobs to RabbitMQ. Needs no ledger, no settings, only a URL."""

from penstock.producers.client.async_producer import AsyncProducer
from penstock.producers.client.batch import Batch
from penstock.producers.client.errors import (
    BrokerBlocked,
    BrokerUnavailable,
    InvalidJob,
    KeyConflict,
    ProducerClosed,
    PublishError,
    PublishRefused,
    PublishTimeout,
    Unroutable,
)
from penstock.producers.client.producer import Producer
from penstock.producers.client.publish import (
    Publish,
    Publishable,
    PublishFailure,
    PublishManyError,
    PublishOptions,
)
from penstock.producers.client.publisher import Publisher
from penstock.producers.client.receipt import Durability, Receipt

__all__ = [
    "AsyncProducer",
    "Batch",
    "BrokerBlocked",
    "BrokerUnavailable",
    "Durability",
    "InvalidJob",
    "KeyConflict",
    "Producer",
    "ProducerClosed",
    "Publish",
    "PublishError",
    "PublishFailure",
    "PublishManyError",
    "PublishOptions",
    "PublishRefused",
    "PublishTimeout",
    "Publishable",
    "Publisher",
    "Receipt",
    "Unroutable",
]
