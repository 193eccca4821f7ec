"""One port for a dispatcher on its own: `/metrics`, and `/healthz` and `/readyz` that prove it passes."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from penstock.workers.board import Page

PLAIN = "text/plain; charset=utf-8"


class DispatchHealth:
    """Serves while it is entered."""

    def __init__(self, page: Page, *, metrics_dir: Path, address: tuple[str, int], log: Any) -> None:
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(metrics_dir))  # type: ignore[no-untyped-call]
        self._server = ThreadingHTTPServer(address, _handler(page, registry))
        self._log = log

    def __enter__(self) -> Self:
        host, port = self._server.server_address[:2]
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()
        self._log.info("metrics and health", url=f"http://{host!s}:{port}/metrics")
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(page: Page, registry: CollectorRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._answer(200, generate_latest(registry), CONTENT_TYPE_LATEST)
            elif path in ("/healthz", "/readyz"):
                passes = page.is_healthy
                said = b"the dispatcher passes\n" if passes else b"the dispatcher does not pass\n"
                self._answer(200 if passes else 503, said, PLAIN)
            else:
                self._answer(404, b"try /metrics, /healthz or /readyz\n", PLAIN)

        def _answer(self, status: int, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its signature
            """Scrapes are not news."""

    return Handler
