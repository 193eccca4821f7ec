"""A way to the broker that can fall silent, as a route does when a firewall forgets a connection."""

import contextlib
import socket
import threading
from collections.abc import Callable
from functools import partial
from typing import Self
from urllib.parse import urlsplit


class Valve:
    """Forwards TCP to the broker. `silence()` swallows what the connections of now carry; new ones work."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._broker = (parts.hostname or "127.0.0.1", parts.port or 5672)
        self._listener = socket.create_server(("127.0.0.1", 0))
        address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.url = parts._replace(netloc=f"{parts.username}:{parts.password}@{address}").geturl()
        self._silences: list[threading.Event] = []
        self._sockets: list[socket.socket] = [self._listener]
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def silence(self) -> None:
        """From now on the present connections carry nothing, and do not close."""
        for silence in self._silences:
            silence.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                broker = socket.create_connection(self._broker)
                silence = threading.Event()
                self._silences.append(silence)
                self._sockets += [client, broker]
                self._start(partial(self._carry, client, broker, silence))
                self._start(partial(self._carry, broker, client, silence))

    def _carry(self, source: socket.socket, sink: socket.socket, silence: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not silence.is_set():
                    sink.sendall(data)

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for open_socket in self._sockets:
            with contextlib.suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)
            open_socket.close()
        for thread in self._threads:
            thread.join()
