"""Whether a gateway lives, and whether it accepts jobs. Nothing here asks anybody: any number of probes may come."""

import asyncio

from penstock.producers.gateway.acceptance import Acceptance
from penstock.producers.gateway.spare import SpareDoor

LOOP_SECONDS_MAX = 2.0
SILENT = "the ledger does not answer"


class Health:
    """`/healthz`: the accepting thread lives. `/readyz`: the ledger answers, or there is a spare door that works."""

    def __init__(self, acceptance: Acceptance, *, spare: SpareDoor | None, stopping: asyncio.Event) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._acceptance = acceptance
        self._spare = spare
        self._stopping = stopping

    def judge(self, path: str) -> tuple[bool, str]:
        """(whether it is so, a line for people)."""
        if not self._acceptance.is_alive:
            return False, "the accepting thread has ended"
        if path == "/healthz":
            return True, "the gateway answers"
        if self._stopping.is_set():
            return False, "the gateway stops"
        if self._acceptance.is_answered:
            return True, "the gateway accepts jobs"
        if self._spare is not None and self._spare.works:
            return True, f"{SILENT}; RabbitMQ takes the jobs"
        return False, SILENT

    def judge_from_outside(self, path: str) -> tuple[bool, str]:
        """The same, asked by another thread: then the event loop has to prove that it lives."""
        if self.loop is None:
            return False, "the gateway does not run"
        turn = asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self.loop)
        try:
            turn.result(LOOP_SECONDS_MAX)
        except TimeoutError:
            turn.cancel()
            return False, "the event loop does not answer"
        return self.judge(path)
