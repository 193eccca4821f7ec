"""The AsyncAPI document: valid by the official schema, and true to the wire."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from pydantic import BaseModel

from penstock.schemas import Job, Message, upcaster
from penstock.schemas.asyncapi import REPLY_CHANNEL, asyncapi_document

OFFICIAL = json.loads((Path(__file__).parent / "asyncapi" / "3.0.0.json").read_text(encoding="utf-8"))


class Line(BaseModel):
    sku: str
    before: "Line | None" = None


class Order(Job, type="orders.ship", version=2, queue="orders", aliases=("orders.send",)):
    lines: list[Line]


upcaster(Order, from_version=1)(dict)


class OldOrder(Job, type="orders.cancel"):
    class Line(BaseModel):
        number: int

    lines: list[Line]


def resolved(document: dict[str, Any], reference: str) -> Any:
    """What a reference of the document points to."""
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def references(node: Any) -> list[str]:
    """Every `$ref` below."""
    if isinstance(node, list):
        return [found for item in node for found in references(item)]
    if not isinstance(node, dict):
        return []
    own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
    return own + [found for item in node.values() for found in references(item)]


@pytest.mark.parametrize("job_classes", [[], [Order], [OldOrder, Order]])
def test_it_is_valid_by_the_official_schema(job_classes: list[type[Job]]) -> None:
    """And every reference leads somewhere."""
    document = json.loads(json.dumps(asyncapi_document(job_classes)))
    errors = [error.message for error in Draft7Validator(OFFICIAL).iter_errors(document)]
    assert errors == []
    for reference in references(document):
        assert resolved(document, reference) is not None


def test_the_official_schema_finds_mistakes() -> None:
    """Else the test above would prove nothing."""
    document = asyncapi_document([Order])
    document["channels"]["orders.ship"]["bindings"]["amqp"]["is"] = "pipe"
    assert not Draft7Validator(OFFICIAL).is_valid(document)


def test_each_name_is_a_channel_and_each_version_a_message() -> None:
    """Two models of one name stay two."""
    document = asyncapi_document([OldOrder, Order])
    assert list(document["channels"]) == ["orders.cancel", "orders.ship", "orders.send", REPLY_CHANNEL]
    assert {it["address"] for it in document["channels"].values()} == {*document["channels"], None} - {REPLY_CHANNEL}
    assert list(document["channels"]["orders.send"]["messages"]) == ["orders.ship.v2"]
    schemas = document["components"]["schemas"]
    assert schemas["orders.ship.v2.Line"] != schemas["orders.cancel.v1.Line"]
    assert schemas["orders.ship.v2"]["x-penstock"] == {
        "type": "orders.ship",
        "version": 2,
        "queue": "orders",
        "aliases": ["orders.send"],
        "upcasts_from": [1],
    }


def test_the_headers_that_we_write_are_those_of_the_document() -> None:
    """All of them, and valid."""
    document = asyncapi_document([Order])
    headers = document["components"]["messages"]["orders.ship.v2"]["headers"]
    message = Message.of(Order(lines=[]), key="k", tenant="t", traceparent="p")
    Draft7Validator(headers).validate(message.headers())
    assert message.headers().keys() <= headers["properties"].keys()


def test_a_publisher_reads_where_replies_come_to_and_what_they_say() -> None:
    """Under the name that he gave, at the address that he gave."""
    document = asyncapi_document([Order])
    reply = document["operations"]["receive.orders.ship"]["reply"]
    assert reply["address"]["location"] == "$message.header#/reply_to"
    told = resolved(document, reply["channel"]["$ref"])["messages"]
    assert list(told) == ["penstock.receipt", "penstock.result"]
    job = document["components"]["messages"]["orders.ship.v2"]
    for message in (job, *(resolved(document, it["$ref"]) for it in told.values())):
        assert message["correlationId"]["location"] == "$message.header#/correlation_id"
    result = document["components"]["schemas"]["penstock.result"]
    assert {"job_id", "duplicate", "state", "finished_at", "result"} <= set(result["required"])
