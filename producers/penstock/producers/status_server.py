"""One port for people, Prometheus and probes: `/metrics`, `/healthz`, `/readyz`."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry


PLAIN = "text/plain; charset=utf-8"


class StatusServer:
    """Serves while it is entered: what the registry collects, and what `judge` says of a path: (whether, a line)."""

    def __init__(
        self,
        *,
        address: tuple[str, int],
        registry: CollectorRegistry,
        judge: Callable[[str], tuple[bool, str]],
        log: Any,
    ) -> None:
        self._server = ThreadingHTTPServer(address, _handler(registry, judge, log))
        self._log = log

    def __enter__(self) -> Self:
        host, port = self._server.server_address[:2]
        threading.Thread(target=self._server.serve_forever, name="status", daemon=True).start()
        self._log.info("metrics and health", url=f"http://{host!s}:{port}/metrics")
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(
    registry: CollectorRegistry, judge: Callable[[str], tuple[bool, str]], log: Any
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._show_metrics()
            elif path in ("/healthz", "/readyz"):
                good, said = judge(path)
                self._answer(200 if good else 503, f"{said}\n".encode(), PLAIN)
            else:
                self._answer(404, b"try /metrics, /healthz or /readyz\n", PLAIN)

        def _show_metrics(self) -> None:
            try:
                page = generate_latest(registry)
            except Exception:
                log.exception("the metrics cannot be read")
                self._answer(500, b"the metrics cannot be read: see the log\n", PLAIN)
            else:
                self._answer(200, page, CONTENT_TYPE_LATEST)

        def _answer(self, status: int, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its signature
            """Scrapes are not news."""

    return Handler
