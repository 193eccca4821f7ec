"""uvicorn, told what this gateway is: bounded connections, its own log, an end in order."""

import logging
import socket
from functools import partial
from types import FrameType
from typing import Any

from uvicorn import Config, Server

from penstock.producers.gateway.app import build
from penstock.producers.gateway.gateway import Gateway
from penstock.producers.gateway.protocol import BoundedProtocol

KEEP_ALIVE_SECONDS = 15
BACKLOG = 512
UNREAD_SECONDS_MAX = 30.0


class GatewayServer(Server):
    """Serves until SIGTERM or Ctrl-C; what was asked until then gets its answer within the grace."""

    def __init__(self, gateway: Gateway, *, grace_seconds: float, with_metrics: bool = True) -> None:
        """`with_metrics` shows them to whoever may send jobs; else they are on a port of their own."""
        self._gateway = gateway
        for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        super().__init__(
            Config(
                build(gateway, with_metrics=with_metrics),
                http=partial(BoundedProtocol, metrics=gateway.metrics),  # type: ignore[arg-type]
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

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Whoever does not read his answers holds a connection only for so long; those that are accepted inherit it."""
        for listener in sockets or []:
            if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(UNREAD_SECONDS_MAX * 1000))
        super().run(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self._captured_signals.clear()  # ending in order is no death by signal

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._gateway.log.info("gateway stops")
        self._gateway.stop_waiting()
        await super().shutdown(sockets)


def serve(
    gateway: Gateway, listener: socket.socket, *, grace_seconds: float, with_metrics: bool = True, log: Any
) -> None:
    """Serve on a socket that listens already; returns when it was told to stop and is done."""
    host, port = listener.getsockname()[:2]
    log.info("gateway listens", url=f"http://{f'[{host}]' if ':' in host else host}:{port}")
    GatewayServer(gateway, grace_seconds=grace_seconds, with_metrics=with_metrics).run(sockets=[listener])
