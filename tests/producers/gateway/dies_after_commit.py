"""A gateway in a process of its own that kills itself between its first commit and the receipt."""

import os
import signal
import socket
import sys
from typing import Any

import structlog
from tests.producers.gateway.running import CATALOGUE

from penstock.producers.gateway import acceptance
from penstock.producers.gateway.gateway import Gateway
from penstock.producers.gateway.server import serve
from penstock.producers.gateway.settings import GatewaySettings


def die(*_: Any) -> None:
    """As the loss of power would."""
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Serve until the first commit."""
    acceptance._answer = die  # type: ignore[assignment]
    log = structlog.get_logger()
    with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
        serve(
            Gateway(GatewaySettings(), CATALOGUE, asks_credentials=False, log=log), listener, grace_seconds=5, log=log
        )


if __name__ == "__main__":
    main()
