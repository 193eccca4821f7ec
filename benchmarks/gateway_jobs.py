"""The gateway under measurement, in a process of its own: `batch_jobs_max` 1 is one commit for each request."""

import logging
import os
import socket

import structlog
from tests.producers.gateway.jobs import AddRow

from penstock.producers.gateway.catalogue import Catalogue, KnownType
from penstock.producers.gateway.gateway import Gateway
from penstock.producers.gateway.server import serve
from penstock.producers.gateway.settings import GatewaySettings


def main() -> None:
    """Serve until SIGTERM."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    log = structlog.get_logger()
    known = KnownType(contract=AddRow.contract(), schema=AddRow.model_json_schema(), read=AddRow.from_body)
    gateway = Gateway(
        GatewaySettings(database_url=os.environ["BENCHMARK_DATABASE"]),
        Catalogue([known]),
        asks_credentials=False,
        batch_jobs_max=int(os.environ["BENCHMARK_BATCH"]),
        log=log,
    )
    with socket.create_server(("127.0.0.1", int(os.environ["BENCHMARK_PORT"])), backlog=512) as listener:
        serve(gateway, listener, grace_seconds=5, log=log)


main()
