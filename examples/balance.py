"""The demo's judge: was anything lost, was anything done twice? Counted from the effects, not by the platform.

python examples/balance.py FOLDER    judges what `python examples/demo.py --keep FOLDER` has left
"""

import sys
from dataclasses import dataclass
from pathlib import Path

if __package__ in (None, ""):  # started as a script: the folder above is where `examples` is found
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from examples.evidence import Evidence, Penguin, gather


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the balance: a name, a figure, and where it comes from."""

    name: str
    figure: int
    source: str


@dataclass(frozen=True, slots=True)
class Balance:
    """`wrong` says what does not hold; it should be empty."""

    lines: list[Line]
    wrong: list[str]
    repeats: int

    @property
    def verdict(self) -> str:
        if self.wrong:
            return "The balance is wrong."
        if not self.repeats:
            return "No job is lost. No effect happened twice."
        mails = "1 mail" if self.repeats == 1 else f"{self.repeats} mails"
        return f"No job is lost. No effect happened twice, but for {mails}, and it says so."


def judge(evidence: Evidence) -> Balance:
    """Weigh what was wanted against what is there."""
    lost = _lost(evidence)
    twice = _twice(evidence)
    return Balance(
        [
            *_lines(evidence),
            Line("lost", len(lost), "rows, certificates, mails or jobs that are missing"),
            Line("done twice", len(twice), "rows, certificates or mails that are one too many"),
        ],
        [*(f"lost: {what}" for what in lost), *(f"done twice: {what}" for what in twice), *_unsettled(evidence)],
        _repeats(evidence),
    )


def _lines(evidence: Evidence) -> list[Line]:
    published, accepted = len(evidence.published), len(_accepted(evidence))
    message_ids = sum(len(ids) for ids in evidence.mails.values())
    return [
        Line("published", published, "receipts in the publisher's own log"),
        Line("duplicates absorbed", published - accepted, "published again, answered with the first one's id"),
        Line("completed", len(evidence.jobs_in("completed")), "with the chunks and mails that handlers published"),
        Line(
            "retried",
            evidence.failures - len(evidence.died),
            f"{evidence.deferred} because the mail server said: later",
        ),
        Line("dead", len(evidence.died), "never weighed, and the first release could not cope"),
        Line("replayed", len(evidence.replayed), f"after the fix; {len(evidence.jobs_in('dead'))} are dead now"),
        Line("rows", sum(evidence.table.values()), f"in the table, of {sum(evidence.file.values())} in the file"),
        Line(
            "certificates", sum(evidence.certificates.values()), f"in the table, for {len(evidence.penguins)} penguins"
        ),
        Line("mails", message_ids, f"Message-IDs in the log of the mail server, to {len(evidence.mails)} recipients"),
        Line("sent again", _repeats(evidence), "after the kill, under the same Message-ID, and on record"),
    ]


def _lost(evidence: Evidence) -> list[str]:
    return [
        *(f"row {row[:2]}" for row in evidence.file - evidence.table),
        *(f"certificate of {penguin}" for penguin in evidence.penguins if not evidence.certificates[penguin]),
        *(f"mail to {to}" for to in map(_recipient, evidence.penguins) if to not in evidence.mails),
        *(f"job {job_id}, for which there is a receipt" for job_id in _accepted(evidence) - set(evidence.states)),
    ]


def _twice(evidence: Evidence) -> list[str]:
    """A mail may come again under its Message-ID, if the ledger says that its outcome was unknown."""
    return [
        *(f"row {row[:2]}" for row in evidence.table - evidence.file),
        *(f"certificate of {penguin}" for penguin, times in evidence.certificates.items() if times > 1),
        *(f"mail to {to}: {len(ids)} Message-IDs" for to, ids in evidence.mails.items() if len(ids) > 1),
        *(
            f"mail to {to}, {times} times and nothing on record"
            for to, ids in evidence.mails.items()
            for message_id, times in ids.items()
            if times > 1 and _job_of(message_id) not in evidence.interrupted
        ),
        *(f"mail to {to}, whom nobody wrote to" for to in evidence.mails.keys() - map(_recipient, evidence.penguins)),
    ]


def _unsettled(evidence: Evidence) -> list[str]:
    """What the ledger must say as well, for the story to be true."""
    open_jobs = len(evidence.states) - len(evidence.jobs_in("completed"))
    keys = {line["key"] for line in evidence.published}
    return [
        *([f"{open_jobs} jobs are not completed"] if open_jobs else []),
        *(
            [f"{len(keys)} keys became {len(_accepted(evidence))} jobs"]
            if len(keys) != len(_accepted(evidence))
            else []
        ),
        *(["not every dead letter was replayed"] if set(evidence.died) != set(evidence.replayed) else []),
        *(["nothing died, nothing was retried: the demo has shown too little"] if not evidence.died else []),
    ]


def _accepted(evidence: Evidence) -> set[str]:
    return {line["job_id"] for line in evidence.published}


def _repeats(evidence: Evidence) -> int:
    return sum(times - 1 for ids in evidence.mails.values() for times in ids.values())


def _recipient(penguin: Penguin) -> str:
    species, number = penguin
    return f"{species.split()[0].lower()}-{number}@penguins.example"


def _job_of(message_id: str) -> str:
    return message_id.strip("<>").partition(".")[0]


def main(folder: Path) -> int:
    """Print the balance of a finished run; returns the exit status."""
    balance = judge(gather(folder))
    for line in balance.lines:
        print(f"{line.name:<20} {line.figure:>5}  {line.source}")
    for wrong in balance.wrong:
        print(f"wrong: {wrong}")
    print(balance.verdict)
    return 1 if balance.wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
