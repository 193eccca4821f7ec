"""How many jobs one gateway process accepts: 64 clients, each sends the next request when it has its receipt.

Group commit beside one commit for each request, on the same Postgres, round by round. Run it with
`python -m benchmarks.gateway`; `--seconds`, `--clients` and `--rounds` change the size.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks.servers import Servers, servers
from tests.servers.ports import free_port, is_listening
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = {500: "group commit", 1: "one commit per request"}
BODY = b'{"type":"demo.add_row","version":1,"payload":{"n":1,"note":"' + b"x" * 150 + b'"}}'


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seconds", type=float, default=5.0)
    arguments.add_argument("--clients", type=int, default=64)
    arguments.add_argument("--rounds", type=int, default=3)
    options = arguments.parse_args()
    with servers() as where:
        for keyed in (False, True):
            rates: dict[int, list[float]] = {batch: [] for batch in NAMES}
            for _ in range(options.rounds):
                for batch in NAMES:
                    rates[batch].append(accept(where, batch=batch, keyed=keyed, options=options))
            print("with a key each" if keyed else "without keys")
            for batch, found in rates.items():
                print(
                    f"  {NAMES[batch]:24} {statistics.median(found):7,.0f}/s   {min(found):,.0f} to {max(found):,.0f}"
                )
            ratio = statistics.median(many / one for many, one in zip(rates[500], rates[1], strict=True))
            print(f"  × {ratio:.2f} (median of the rounds)")


def accept(where: Servers, *, batch: int, keyed: bool, options: argparse.Namespace) -> float:
    """Receipts per second."""
    with gateway(where.ledger(), batch) as port:
        asyncio.run(load(port, clients=options.clients, seconds=1.0, keyed=keyed))
        started = time.perf_counter()
        receipts = asyncio.run(load(port, clients=options.clients, seconds=options.seconds, keyed=keyed))
        return receipts / (time.perf_counter() - started)


@contextmanager
def gateway(database_url: str, batch: int) -> Iterator[int]:
    """A gateway in a process of its own; yields its port."""
    port = free_port()
    environment = os.environ | {
        "BENCHMARK_DATABASE": database_url,
        "BENCHMARK_BATCH": str(batch),
        "BENCHMARK_PORT": str(port),
    }
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.gateway_jobs"], env=environment)
    try:
        until(lambda: is_listening(port), timeout_seconds=30, what="the gateway")
        yield port
    finally:
        process.terminate()
        process.wait(30)


async def load(port: int, *, clients: int, seconds: float, keyed: bool) -> int:
    """Receipts that so many clients got in this time."""
    deadline = time.perf_counter() + seconds
    return sum(await asyncio.gather(*(client(port, n, deadline=deadline, keyed=keyed) for n in range(clients))))


async def client(port: int, number: int, *, deadline: float, keyed: bool) -> int:
    """One connection, one request after the other."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: [::1]\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n"
    receipts = 0
    while time.perf_counter() < deadline:
        key = f"Idempotency-Key: {number}-{receipts}-{deadline}\r\n" if keyed else ""
        writer.write(f"{head}{key}\r\n".encode() + BODY)
        answer = await reader.readuntil(b"}")
        assert answer.startswith(b"HTTP/1.1 202"), answer
        receipts += 1
    writer.close()
    return receipts


if __name__ == "__main__":
    main()
