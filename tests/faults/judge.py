"""The judge: compares what the load was told with what has happened. It believes no counter of the product's own."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text
from tests.faults.jobs import Post

from penstock.ledger.database import Session

POST = Post.contract().type

BALANCE = text(
    """
    SELECT
        (SELECT count(*) FROM jobs) AS accepted,
        (SELECT count(*) FROM jobs WHERE state = 'completed') AS completed,
        (SELECT count(*) FROM jobs WHERE state = 'dead') AS dead,
        (SELECT count(*) FROM jobs WHERE state = 'cancelled') AS cancelled,
        (SELECT count(*) FROM jobs WHERE state IN ('scheduled', 'available', 'retryable', 'executing')) AS live,
        (SELECT count(*) FROM quarantine) AS quarantined
    """
)
KNOWN = text("SELECT CAST(id AS text) FROM jobs UNION SELECT CAST(id AS text) FROM aliases")
# What had no reason to fail has run once by its own account, however often it was interrupted.
MISCOUNTED = text(
    """
    SELECT CAST(id AS text), attempts, type, state, reason FROM jobs
    WHERE state <> 'completed'
        OR attempts <> 1 + (SELECT count(*) FROM attempts WHERE job_id = jobs.id AND kind IN ('failed', 'timeout'))
    """
)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`repeated`: external effects that were had again under their own key, which is said and not held against us."""

    invoked: int
    confirmed: int
    effects: int
    repeated: int
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Nothing lost, nothing doubled, nothing out of nowhere, and the books balance."""
        return not (self.lost or self.doubled or self.unexpected or self.wrong)

    def __str__(self) -> str:
        figures = (
            f"{self.confirmed} of {self.invoked} orders confirmed, {self.effects} effects, {self.repeated} repeated"
        )
        found = {"lost": self.lost, "doubled": self.doubled, "unexpected": self.unexpected, "wrong": self.wrong}
        return "\n".join([figures, *(f"{what}: {len(names)} {names[:10]}" for what, names in found.items() if names)])


def judge(
    history: Iterable[dict[str, Any]], *, rows: Iterable[str], posts: Iterable[dict[str, Any]], wrong: list[str]
) -> Verdict:
    """`rows` are the names that transactional handlers wrote, `posts` the lines of the provider."""
    lines = list(history)
    types = {line["key"]: line["type"] for line in lines if line["event"] == "invoked"}
    confirmed = {line["key"] for line in lines if line["event"] == "confirmed"}
    written = Counter(rows)
    posted: dict[str, Counter[str]] = {}
    for post in posts:
        posted.setdefault(post["job"], Counter())[post["key"]] += 1
    seen = {key: len(posted.get(key, ())) if types[key] == POST else written[key] for key in types}
    return Verdict(
        invoked=len(types),
        confirmed=len(confirmed),
        effects=sum(written.values()) + sum(map(len, posted.values())),
        repeated=sum(count - 1 for keys in posted.values() for count in keys.values()),
        lost=sorted(key for key in confirmed if not seen[key]),
        doubled=sorted(key for key, times in seen.items() if times > 1),
        unexpected=sorted({*written, *posted} - types.keys()),
        wrong=wrong,
    )


def balance(session: Session, history: Iterable[dict[str, Any]]) -> list[str]:
    """What is wrong with the ledger's books once everything has come to rest, in sentences."""
    sums = session.connection.execute(BALANCE).one()
    wrong = []
    if sums.accepted != sums.completed + sums.dead + sums.cancelled + sums.live:
        wrong.append(f"the states do not add up: {sums}")
    if sums.live or sums.quarantined:
        wrong.append(f"not at rest: {sums}")
    known = set(session.connection.execute(KNOWN).scalars())
    receipts = {line["job_id"] for line in history if line["event"] == "confirmed"}
    wrong += [f"job {job_id} has a receipt and no row" for job_id in sorted(receipts - known)]
    wrong += [
        f"{tuple(row)} should be completed, without an attempt too many"
        for row in session.connection.execute(MISCOUNTED)
    ]
    return wrong
