"""One case of the matrix: a pool at work under a load, a fault, and the judge's verdict once all has come to rest."""

import itertools
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import text
from tests.faults.judge import Verdict, balance, judge
from tests.faults.load import Load
from tests.faults.provider import VARIABLE, Provider
from tests.faults.readiness import consuming
from tests.waiting import until
from tests.workers.pool import RunningPool
from tests.workers.site import Site

from penstock.schemas import Job

# Where the results go from which docs/reliability.md is made; a run that is not told of it keeps none.
RESULTS = "PENSTOCK_FAULTS_RESULTS"
REST_SECONDS_MAX = 90.0
MORE_LINES = 60
LIVE = text("SELECT count(*) FROM jobs WHERE state NOT IN ('completed', 'dead', 'cancelled')")


class Trial:
    """All trials of a module share a pool; each has a load of its own, and the judge looks at everything so far."""

    def __init__(self, site: Site, provider: Provider, pool: RunningPool) -> None:
        self.site = site
        self.provider = provider
        self.pool = pool
        self._histories: list[dict[str, Any]] = []
        self._seeds = itertools.count(1)

    @contextmanager
    def under_load(self, case: str, *, url: str | None = None, per_second: float = 60.0) -> Iterator[Load]:
        """The fault happens inside, while jobs are published. Leaving waits until more of them are, then for rest, and
        asserts that nothing is lost, doubled or miscounted.

        `url` is where the load publishes: RabbitMQ, if not said otherwise.
        """
        with self.load(url or self.site.broker_url, per_second=per_second) as load:
            self.await_more(load)
            yield load
            healed_at = time.monotonic()
            self.await_more(load)
            load.finish()
        verdict = self.await_verdict(load)
        self._write_down(case, load.lines, verdict, seconds=time.monotonic() - healed_at)
        assert verdict.is_clean, f"\n{verdict}"
        assert verdict.confirmed == verdict.invoked, "what was begun has its receipt once all is well again"
        consuming(self.pool)

    def load(self, url: str, *, per_second: float = 60.0) -> Load:
        """Another one, which has its own orders."""
        ways = {"broker" if url.startswith("amqp") else "ledger": url}
        return Load(ways=ways, folder=self.site.folder, seed=next(self._seeds), per_second=per_second)

    def publish(self, job: Job, *, key: str) -> str:
        """A job of the test's own, whose effect the judge expects as he does those of the load; returns its id."""
        order = {"key": key, "type": job.contract().type}
        self._histories.append({"event": "invoked", **order})
        job_id = self.site.publish(job, key=key).job_id
        self._histories.append({"event": "confirmed", **order, "job_id": job_id})
        return job_id

    def await_verdict(self, load: Load) -> Verdict:
        """What is to be said of all loads so far, once everything has come to rest."""
        self._histories += load.lines
        until(self._is_at_rest, timeout_seconds=REST_SECONDS_MAX, what="the end of all jobs")
        return self._verdict()

    def await_more(self, load: Load) -> None:
        """Wait until it has published some more."""
        seen = len(load.lines)
        until(lambda: len(load.lines) > seen + MORE_LINES, timeout_seconds=REST_SECONDS_MAX, what="more of the load")

    def _is_at_rest(self) -> bool:
        with self.site.ledger.session() as session:
            return session.connection.execute(LIVE).scalar() == 0

    def _verdict(self) -> Verdict:
        with self.site.ledger.session() as session:
            rows = session.connection.execute(text("SELECT name FROM effects_of_tests")).scalars().all()
            wrong = balance(session, self._histories)
        return judge(self._histories, rows=map(str, rows), posts=self.provider.effects(), wrong=wrong)

    def _write_down(self, case: str, lines: list[dict[str, Any]], verdict: Verdict, *, seconds: float) -> None:
        path = os.environ.get(RESULTS)
        if path is None:
            return
        unsure = sum(line["event"] in ("unknown", "failed") for line in lines)
        result = {
            "case": case,
            "jobs": len({line["key"] for line in lines}),
            "unsure": unsure,
            "lost": len(verdict.lost),
            "doubled": len(verdict.doubled),
            "rest_seconds": round(seconds, 1),
        }
        with Path(path).open("a") as file:
            file.write(json.dumps(result) + "\n")


@contextmanager
def trial(database_url: str, broker_url: str, folder: Path, /, **options: Any) -> Iterator[Trial]:
    """A pool of two processes on these servers, its provider, and the judge's seat; `options` are those of the pool."""
    site = Site(database_url, broker_url, folder)
    with site.ledger.session() as session:
        session.connection.execute(text("CREATE TABLE effects_of_tests (name TEXT NOT NULL)"))
    with (
        Provider(folder) as provider,
        site.pool(
            modules=["tests.faults.jobs"],
            processes=2,
            threads=4,
            environment={VARIABLE: provider.address},
            **options,
        ) as pool,
    ):
        consuming(pool)
        yield Trial(site, provider, pool)
        assert pool.stop() == 0
    site.close()
