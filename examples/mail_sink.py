"""A mail server of the demo, in a process of its own: what it takes, it writes to an append-only log first.

It greylists, as real ones do: one new recipient in twenty is told to come back later (RFC 6647).
"""

import asyncio
import json
import os
import signal
import sys
import warnings
from email import message_from_bytes
from pathlib import Path
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # aiosmtpd's own, on newer Pythons
    from aiosmtpd.smtp import SMTP

GREYLIST_EVERY = 20


class Sink:
    """One line of JSON for each answer given; fsynced before it is given."""

    def __init__(self, log: Path) -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._known: set[str] = set()

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802 - aiosmtpd's name
        is_new = address not in self._known
        self._known.add(address)
        if is_new and len(self._known) % GREYLIST_EVERY == 0:
            self._write(answer=451, to=address)
            return "451 4.7.1 greylisted, come back later"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        mail = message_from_bytes(envelope.content)
        self._write(answer=250, to=envelope.rcpt_tos[0], message_id=mail["Message-ID"])
        return "250 2.0.0 taken"

    def _write(self, **line: Any) -> None:
        os.write(self._log, json.dumps(line).encode() + b"\n")
        os.fsync(self._log)


async def serve(log: Path) -> None:
    """Serve on a free port, which is printed, until SIGTERM."""
    loop = asyncio.get_running_loop()
    sink = Sink(log)
    server = await loop.create_server(lambda: SMTP(sink, enable_SMTPUTF8=False), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
