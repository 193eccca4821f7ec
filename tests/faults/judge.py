"""The judge: compares what the load was told with what has happened. It believes no counter of the product's own."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text
from tests.faults.jobs import Post
from tests.faults.ticks import NAME

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

# What handlers raise: on purpose, or for what the provider says. Whatever else failed an attempt was not theirs.
UNEXPLAINED = text(
    """
    SELECT CAST(job_id AS text), kind, error_class, message FROM attempts
    WHERE kind IN ('failed', 'timeout') AND error_class NOT IN ('ValueError', 'RefusedError', 'SilentError')
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
    history: Iterable[dict[str, Any]],
    *,
    rows: Iterable[str],
    posts: Iterable[dict[str, Any]],
    wrong: list[str],
    ticks: Iterable[str] = (),
) -> Verdict:
    """`rows` are the names that transactional handlers wrote, `posts` the lines of the provider.

    `ticks` are the names of those that the clock has made due; one that came later may be there or not.
    """
    lines, ticks = list(history), set(ticks)
    types = {line["key"]: line["type"] for line in lines if line["event"] == "invoked"}
    confirmed = {line["key"] for line in lines if line["event"] == "confirmed"}
    written = Counter(rows)
    posted: dict[str, Counter[str]] = {}
    for post in posts:
        posted.setdefault(post["job"], Counter())[post["key"]] += 1
    seen = {key: len(posted.get(key, ())) if types[key] == POST else written[key] for key in types}
    ticked = {name: written[name] for name in {*ticks, *(row for row in written if row.startswith(f"{NAME}@"))}}
    return Verdict(
        invoked=len(types),
        confirmed=len(confirmed),
        effects=sum(written.values()) + sum(map(len, posted.values())),
        repeated=sum(count - 1 for keys in posted.values() for count in keys.values()),
        lost=sorted(key for key in {*confirmed, *ticks} if not (seen | ticked)[key]),
        doubled=sorted(key for key, times in (seen | ticked).items() if times > 1),
        unexpected=sorted({*written, *posted} - types.keys() - ticked.keys()),
        wrong=wrong,
    )


def unanswered(history: Iterable[dict[str, Any]], replies: Iterable[dict[str, Any]]) -> list[str]:
    """What is wrong with the replies, in sentences: who asked has heard of the receipt and of the end, which is one."""
    asked = {line["job_id"] for line in history if line["event"] == "confirmed" and line["way"] == "asking"}
    heard: dict[str, dict[str, set[str]]] = {}
    for reply in replies:
        said = heard.setdefault(reply["asked_id"], {}).setdefault(reply["kind"], set())
        said.add(f"{reply['job_id']} {reply['state']}")
    wrong = [
        f"{job_id} has heard of no {kind}"
        for job_id in sorted(asked)
        for kind in ("receipt", "result")
        if not heard.get(job_id, {}).get(kind)
    ]
    for job_id, kinds in sorted(heard.items()):
        results = sorted(kinds.get("result", ()))
        if results and (len(results) > 1 or not results[0].endswith(" completed")):
            wrong.append(f"{job_id} has heard of {', '.join(results)}")
    return wrong


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
    wrong += [f"{tuple(row)} was nobody's fault" for row in session.connection.execute(UNEXPLAINED)]
    return wrong
