"""What the demo's judge looks at: the file, the publisher's history, the mail server's log, and plain SQL.

Nothing in here uses the platform.
"""

import csv
import json
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LEDGER, MAILS, HISTORY = "ledger.db", "mails.log", "history.log"
CSV = Path(__file__).parent / "data" / "penguins-raw.csv"

Penguin = tuple[str, int]  # species and number name one
Row = tuple[str, int, str, int | None, str]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was wanted (`file`, `published`, `died`, `replayed`), and what is there."""

    file: Counter[Row]
    published: list[dict[str, Any]]
    died: list[str]
    replayed: list[str]
    table: Counter[Row]
    certificates: Counter[Penguin]
    mails: dict[str, Counter[str]]  # recipient → Message-ID → how often
    deferred: int
    states: dict[str, str]  # job → state
    failures: int
    interrupted: set[str]

    @property
    def penguins(self) -> list[Penguin]:
        return [(species, number) for species, number, *_ in self.file]

    def jobs_in(self, state: str) -> set[str]:
        return {job_id for job_id, known in self.states.items() if known == state}


def gather(folder: Path) -> Evidence:
    """Read everything that a run has left in its folder."""
    history = _read_log(folder / HISTORY)
    answers = _read_log(folder / MAILS)
    mails: dict[str, Counter[str]] = {}
    for answer in answers:
        if answer["answer"] == 250:
            mails.setdefault(answer["to"], Counter())[answer["message_id"]] += 1
    with closing(sqlite3.connect(f"file:{folder / LEDGER}?mode=ro", uri=True)) as database:
        read = database.execute
        return Evidence(
            file=_read_csv(),
            published=[line for line in history if line["event"] == "published"],
            died=[job_id for line in history if line["event"] == "died" for job_id in line["jobs"]],
            replayed=[job_id for line in history if line["event"] == "replayed" for job_id in line["jobs"]],
            table=Counter(read("SELECT species, number, island, mass_g, hatched FROM penguins").fetchall()),
            certificates=Counter(read("SELECT species, number FROM certificates").fetchall()),
            mails=mails,
            deferred=sum(answer["answer"] == 451 for answer in answers),
            states=dict(read("SELECT id, state FROM jobs").fetchall()),
            failures=read("SELECT count(*) FROM attempts WHERE kind = 'failed'").fetchone()[0],
            interrupted={job_id for (job_id,) in read("SELECT job_id FROM attempts WHERE kind <> 'failed'")},
        )


def _read_csv() -> Counter[Row]:
    with CSV.open(newline="", encoding="utf-8") as file:
        return Counter(
            (
                line["Species"],
                int(line["Sample Number"]),
                line["Island"],
                None if line["Body Mass (g)"] == "NA" else int(line["Body Mass (g)"]),
                line["Date Egg"],
            )
            for line in csv.DictReader(file)
        )


def _read_log(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
