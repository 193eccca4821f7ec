"""What a check of the contracts says."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

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


class Example(NamedTuple):
    """One that would be refused."""

    id: str
    state: str
    field: str
    problem: str


@dataclass(slots=True)
class LiveFinding:
    """What there is of one type and version: jobs by state, and those that would be refused.

    A row of an outbox is in state `outbox`, a schedule in `schedule`, under its name. `fields` counts (field, problem).
    No value of a payload is here.
    """

    type: str
    version: int
    known: bool = True
    states: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    fields: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: list[Example] = field(default_factory=list)

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
            self.examples.append(Example(job_id, state, where, problem))
