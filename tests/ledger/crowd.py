"""Threads that start together, each with a session of its own."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from penstock.ledger.database import Ledger, Session

Answer = TypeVar("Answer")


def at_once(ledger: Ledger, *acts: Callable[[Session], Answer]) -> list[Answer]:
    """Run each act in a thread with its own session, all released at one moment; returns their answers in order.

    An error of any of them is raised.
    """
    gate = threading.Barrier(len(acts))

    def run(act: Callable[[Session], Answer]) -> Answer:
        with ledger.session() as session:
            gate.wait(timeout=30)
            return act(session)

    with ThreadPoolExecutor(len(acts)) as pool:
        return [future.result(timeout=120) for future in [pool.submit(run, act) for act in acts]]


def each_at_once(ledger: Ledger, act: Callable[[Session, int], Answer], numbers: Sequence[int]) -> list[Answer]:
    """The same act in several threads, told apart by number."""
    return at_once(ledger, *[lambda session, number=number: act(session, number) for number in numbers])
