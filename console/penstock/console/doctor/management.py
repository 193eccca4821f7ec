"""What AMQP does not show, over RabbitMQ's management API."""

import base64
import json
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from http.client import HTTPException
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

from pika.credentials import PlainCredentials

from penstock.console.doctor.finding import Finding, ok, problem
from penstock.producers.client.endpoint import Endpoint
from penstock.schemas.message import EXCHANGE

TIMEOUT_SECONDS = 3.0
CHECK = "bindings"


def check_bindings(url: str, endpoint: Endpoint, bindings: Mapping[str, AbstractSet[str]]) -> Finding:
    """Whether each type is bound to its queue; asks with the user and password of PENSTOCK_BROKER_URL."""
    if urlsplit(url).scheme not in ("http", "https"):
        return problem(CHECK, "PENSTOCK_MANAGEMENT_URL is not an HTTP URL", "write http://host:15672")
    try:
        bound = _bound(url, endpoint)
    except (OSError, HTTPException, ValueError, KeyError) as error:
        detail = f"the management API does not answer as it should: {type(error).__name__} {error}"
        return problem(
            CHECK, detail, "enable the plugin rabbitmq_management, or correct or unset PENSTOCK_MANAGEMENT_URL"
        )
    wanted = {(queue, job_type) for queue, types in bindings.items() for job_type in types}
    missing = sorted(wanted - bound)
    if missing:
        listed = ", ".join(f"{job_type} → {queue}" for queue, job_type in missing)
        return problem(
            CHECK, f"missing: {listed}", "`penstock rebuild` binds them, and so does a worker when it starts"
        )
    return ok(CHECK, f"{len(wanted)} of {len(wanted)} types are bound to their queue")


def _bound(url: str, endpoint: Endpoint) -> set[tuple[str, str]]:
    parameters = endpoint.parameters
    address = f"{url.rstrip('/')}/api/exchanges/{quote(parameters.virtual_host, safe='')}/{EXCHANGE}/bindings/source"
    request = Request(address)  # noqa: S310 - the scheme was checked
    if isinstance(parameters.credentials, PlainCredentials):
        login = f"{parameters.credentials.username}:{parameters.credentials.password}"
        request.add_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
    with urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - see above
        rows = json.load(answer)
    return {(row["destination"], row["routing_key"]) for row in rows if row["destination_type"] == "queue"}
