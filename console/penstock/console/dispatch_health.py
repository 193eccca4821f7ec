"""What a dispatcher on its own says of itself."""

import mmap
import os
import uuid

from penstock.workers import board
from penstock.workers.board import Page
from penstock.workers.census import Census


class DispatchHealth:
    """A board of one, where the dispatcher proves its health; `/healthz` and `/readyz` are the same here."""

    def __init__(self, *, name: str, has_broker: bool) -> None:
        self.page = Page(mmap.mmap(-1, mmap.PAGESIZE), 0, 1, 0)
        self.page.occupy(str(uuid.uuid4()), pid=os.getpid(), kind=board.DISPATCHER)
        wanted = {board.DISPATCHER: 1}
        self.census = Census([self.page], pool=name, has_broker=has_broker, wanted=wanted, threads=0)

    def judge(self, path: str) -> tuple[bool, str]:
        """(whether it passes, a line for people)."""
        passes = self.census.healthy(board.DISPATCHER) > 0
        return passes, f"the dispatcher {'passes' if passes else 'does not pass'}"
