"""A gateway that serves in this process, and a client in front of it."""

import socket
import threading
from typing import Any, Self

import httpx
import structlog
from structlog.testing import CapturingLogger
from tests.producers.gateway.jobs import AddRow, AddRowTwo, Once
from tests.waiting import until

from penstock.producers.gateway.catalogue import Catalogue, KnownType
from penstock.producers.gateway.gateway import Gateway
from penstock.producers.gateway.server import GatewayServer
from penstock.producers.gateway.settings import GatewaySettings

CATALOGUE = Catalogue(
    KnownType(contract=it.contract(), schema=it.model_json_schema(), read=it.from_body)
    for it in (AddRow, AddRowTwo, Once)
)


class RunningGateway:
    """`with RunningGateway(url) as gateway: gateway.client.post(…)`."""

    def __init__(
        self,
        url: str,
        *,
        asks_credentials: bool = False,
        catalogue: Catalogue = CATALOGUE,
        patience_seconds: float | None = None,
        **settings: Any,
    ) -> None:
        self.log = CapturingLogger()
        log = structlog.wrap_logger(self.log, processors=[structlog.processors.KeyValueRenderer()])
        known = GatewaySettings(database_url=url, **settings)
        self.gateway = Gateway(
            known, catalogue, asks_credentials=asks_credentials, patience_seconds=patience_seconds, log=log
        )
        self.server = GatewayServer(self.gateway, grace_seconds=5)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self._listener]})
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=20)

    @property
    def lines(self) -> list[str]:
        """What it has logged."""
        return [str(call.args) for call in self.log.calls]

    def submit(self, payload: dict[str, Any] | None = None, *, key: str | None = None, **more: Any) -> httpx.Response:
        """Submit a `demo.add_row` of version 1."""
        headers = {} if key is None else {"Idempotency-Key": key}
        body = {"type": "demo.add_row", "version": 1, "payload": {"n": 1} if payload is None else payload, **more}
        return self.client.post("/v1/jobs", json=body, headers=headers)

    def raw(self, data: bytes, *, timeout_seconds: float = 5.0) -> bytes:
        """Send bytes on a connection of their own and return all that comes back until it is closed."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout_seconds) as connection:
            connection.sendall(data)
            received = b""
            while more := connection.recv(65536):
                received += more
            return received

    def stop(self) -> None:
        """Tell it to stop, and wait until it has."""
        self.server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()

    def __enter__(self) -> Self:
        self._thread.start()
        until(lambda: self.server.started, what="the gateway")
        return self

    def __exit__(self, *error: object) -> None:
        self.client.close()
        self.stop()
        self._listener.close()
