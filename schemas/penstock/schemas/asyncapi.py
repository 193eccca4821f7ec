"""The wire as an AsyncAPI 3 document: `docs/wire.md` for programs.

https://www.asyncapi.com/docs/reference/specification/v3.0.0; the document describes a worker, which receives.
"""

from collections.abc import Iterable
from itertools import groupby
from typing import Any

from penstock.schemas.documents import payload_schema
from penstock.schemas.job import Job
from penstock.schemas.message import (
    CONTENT_TYPE,
    DIGESTS_PATTERN,
    EXCHANGE,
    KEY_LENGTH_MAX,
    REPLY_PREFIXES,
    TEXT_LENGTH_MAX,
)
from penstock.schemas.reply import REPLIES, ReceiptReply

WIRE_VERSION = "1.0.0"
# No type is called so: their names begin with a letter.
REPLY_CHANNEL = "_replies"
# AsyncAPI has no other words for properties of AMQP.
CORRELATION_ID = {
    "description": "The AMQP property correlation_id; in a reply the job id, where the publisher gave none.",
    "location": "$message.header#/correlation_id",
}

Document = dict[str, Any]


def asyncapi_document(job_classes: Iterable[type[Job]]) -> Document:
    """One channel for each name of a type, with a message for each version."""
    ordered = sorted(job_classes, key=lambda it: (it.contract().type, it.contract().version))
    by_type = [(name, list(classes)) for name, classes in groupby(ordered, key=lambda it: it.contract().type)]
    names = [(name, job_type, classes) for job_type, classes in by_type for name in classes[0].contract().names]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Jobs",
            "version": WIRE_VERSION,
            "description": "Publish persistent and mandatory, with publisher confirms: a confirm is the receipt.",
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": {name: _channel(name, job_type, classes) for name, job_type, classes in names} | _reply_channel(),
        "operations": {f"receive.{name}": _operation(name) for name, _, _ in names},
        "components": {
            "messages": {
                **{_message_name(job_class): _message(job_class) for job_class in ordered},
                **{kind: _reply_message(kind, model) for kind, model in REPLIES.items()},
            },
            "schemas": {
                **{key: value for job_class in ordered for key, value in _schemas(job_class).items()},
                **{kind: model.model_json_schema() for kind, model in REPLIES.items()},
            },
        },
    }


def _channel(name: str, job_type: str, classes: list[type[Job]]) -> Document:
    known = f"the type was called {name} before" if name != job_type else f"queue {classes[0].contract().queue}"
    messages = {_message_name(it): {"$ref": f"#/components/messages/{_message_name(it)}"} for it in classes}
    exchange = {"name": EXCHANGE, "type": "topic", "durable": True, "autoDelete": False}
    return {
        "address": name,
        "description": f"The routing key is the job type; {known}.",
        "messages": messages,
        "bindings": {"amqp": {"is": "routingKey", "exchange": exchange, "bindingVersion": "0.3.0"}},
    }


def _operation(name: str) -> Document:
    amqp = {"deliveryMode": 2, "mandatory": True, "ack": True, "bindingVersion": "0.3.0"}
    return {
        "action": "receive",
        "channel": {"$ref": f"#/channels/{name}"},
        "reply": {
            "address": {
                "description": f"The AMQP property reply_to. It begins with one of: {', '.join(REPLY_PREFIXES)}",
                "location": "$message.header#/reply_to",
            },
            "channel": {"$ref": f"#/channels/{REPLY_CHANNEL}"},
        },
        "bindings": {"amqp": amqp},
    }


def _reply_channel() -> Document:
    return {
        REPLY_CHANNEL: {
            "address": None,
            "description": "A queue of the publisher's. Each reply comes at least once, over the default exchange.",
            "messages": {kind: {"$ref": f"#/components/messages/{kind}"} for kind in REPLIES},
        }
    }


def _reply_message(kind: str, model: type[ReceiptReply]) -> Document:
    return {
        "name": kind,
        "title": model.model_config["title"],
        "description": model.__doc__,
        "contentType": CONTENT_TYPE,
        "correlationId": CORRELATION_ID,
        "payload": {"$ref": f"#/components/schemas/{kind}"},
        "bindings": {"amqp": {"messageType": kind, "bindingVersion": "0.3.0"}},
    }


def _message(job_class: type[Job]) -> Document:
    contract = job_class.contract()
    return {
        "name": contract.type,
        "title": f"{contract.type} v{contract.version}",
        "description": "AMQP properties: message_id, a UUIDv7, is the job id; type is the job type.",
        "contentType": CONTENT_TYPE,
        "correlationId": CORRELATION_ID,
        "headers": _headers(contract.version),
        "payload": {"$ref": f"#/components/schemas/{_message_name(job_class)}"},
        "bindings": {"amqp": {"messageType": contract.type, "bindingVersion": "0.3.0"}},
    }


def _headers(version: int) -> Document:
    text = {"type": "string", "minLength": 1, "maxLength": TEXT_LENGTH_MAX}
    properties = {
        "schema-version": {"type": "integer", "const": version},
        "dedup-key": text | {"maxLength": KEY_LENGTH_MAX},
        "due-at": {"type": "string", "format": "date-time"},
        "tenant": text,
        "traceparent": text,
        "payload-hash": {"type": "string", "pattern": DIGESTS_PATTERN},
    }
    return {"type": "object", "properties": properties, "required": ["schema-version"] if version > 1 else []}


def _schemas(job_class: type[Job]) -> Document:
    """The payload and what it refers to, under names of its own: two jobs may have a model of the same name."""
    name = _message_name(job_class)
    schema = payload_schema(job_class, ref_template=f"#/components/schemas/{name}.{{model}}")
    schema.pop("$schema")
    models = schema.pop("$defs", {})
    return {name: schema, **{f"{name}.{model}": value for model, value in models.items()}}


def _message_name(job_class: type[Job]) -> str:
    contract = job_class.contract()
    return f"{contract.type}.v{contract.version}"
