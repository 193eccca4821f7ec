"""What a check of the contracts says."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

Status = Literal["ok", "note", "problem"]

EXAMPLES_MAX = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """About one type and version; `remedy` is empty where nothing needs to be done."""

    type: str
    version: int
    status: Status
    field: str = ""
    detail: str
    remedy: str = ""


@dataclass(slots=True)
class LiveFinding:
    """What the ledger has of one type and version: jobs by state, and those that would be refused.

    `fields` counts (field, problem), `examples` are (job id, field, problem). No value of a payload is here.
    """

    type: str
    version: int
    known: bool = True
    states: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    fields: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def jobs(self) -> int:
        return self.states.total()

    @property
    def status(self) -> Status:
        if self.refused:
            return "problem"
        return "ok" if self.known else "note"

    def refuse(self, job_id: str, state: str, where: str, problem: str) -> None:
        """One job that the new contracts would bury."""
        self.refused[state] += 1
        self.fields[where, problem] += 1
        if len(self.examples) < EXAMPLES_MAX:
            self.examples.append((job_id, where, problem))
