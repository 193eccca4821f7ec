"""uvicorn, told what this gateway is: bounded connections, its own log, an end in order."""

import logging
import socket
from types import FrameType
from typing import Any

from uvicorn import Config, Server

from penstock.producers.gateway.app import build
from penstock.producers.gateway.gateway import Gateway
from penstock.producers.gateway.protocol import BoundedProtocol

KEEP_ALIVE_SECONDS = 15
BACKLOG = 512


class GatewayServer(Server):
    """Serves until SIGTERM or Ctrl-C; what was asked until then gets its answer within the grace."""

    def __init__(self, gateway: Gateway, *, grace_seconds: float) -> None:
        self._gateway = gateway
        for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        super().__init__(
            Config(
                build(gateway),
                http=BoundedProtocol,
                ws="none",
                loop="uvloop",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=int(grace_seconds),
                backlog=BACKLOG,
            )
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self._captured_signals.clear()  # ending in order is no death by signal

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._gateway.log.info("gateway stops")
        self._gateway.stop_waiting()
        await super().shutdown(sockets)


def serve(gateway: Gateway, listener: socket.socket, *, grace_seconds: float, log: Any) -> None:
    """Serve on a socket that listens already; returns when it was told to stop and is done."""
    host, port = listener.getsockname()[:2]
    log.info("gateway listens", url=f"http://{f'[{host}]' if ':' in host else host}:{port}")
    GatewayServer(gateway, grace_seconds=grace_seconds).run(sockets=[listener])
