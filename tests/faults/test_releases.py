"""Two releases side by side, forward and back again: F28; and the ledger of the next one under this one."""

from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.faults.jobs import Transfer
from tests.faults.next_jobs import Refund, Transfer2
from tests.faults.next_ledger import migrate_to_next
from tests.faults.readiness import consuming
from tests.waiting import until
from tests.workers.pool import RunningPool
from tests.workers.site import Site

from penstock.ledger.admission import Offer, admit
from penstock.ledger.dead_letters import Selection, replay_dead
from penstock.ledger.jobs import hurry_job
from penstock.ledger.revision import known_revisions
from penstock.ledger.state import Reason, State
from penstock.producers.ledger_producer import LedgerProducer
from penstock.schemas import Message

pytestmark = pytest.mark.faults

OLD, NEW = ["tests.faults.jobs"], ["tests.faults.next_jobs"]
# What a release does not know waits for one that does: a second here, half a minute otherwise.
CONSTANTS = {"reading.UNKNOWN_DELAY_SECONDS": 1.0, "intake.UNKNOWN_DELAY_SECONDS": 1.0}


def test_a_rolling_deploy_and_its_rollback_lose_nothing_and_use_up_nothing(site: Site) -> None:
    """N, N beside N+1, N alone again with jobs of N+1 in the queue, and N+1 at last."""
    published: list[str] = []

    def publish_all() -> None:
        for n in range(40):
            jobs = (Transfer(n=n, work_seconds=0.01), Transfer2(number=n), Refund(n=n))
            published.extend(site.publish(job).job_id for job in jobs)

    def done() -> int:
        return site.states().get("completed", 0)

    with _pool(site, OLD, "old") as old, _pool(site, NEW, "new") as new:
        consuming(old)
        consuming(new)
        publish_all()
        until(lambda: done() > 20, timeout_seconds=30, what="some to be done")
        assert new.stop() == 0  # rolled back under load
        publish_all()
        until(lambda: done() >= 80, timeout_seconds=30, what="what the old release knows")
        assert done() < len(published)
        assert old.stop() == 0
        with _pool(site, NEW, "newer") as newer:
            consuming(newer)
            for job_id in published:
                hurry_job(site.session, job_id, actor="test")  # it would wait for up to ten minutes
            until(lambda: site.states() == {"completed": len(published)}, timeout_seconds=60, what="the end of all")
            assert newer.stop() == 0
    assert Counter(site.effects()) == Counter(published)
    assert {site.job(job_id)["attempts"] for job_id in published} == {1}
    assert [site.job(job_id)["history"] for job_id in published if site.job(job_id)["history"]] == []


def test_this_release_goes_on_while_the_ledger_becomes_that_of_the_next_one(site: Site, tmp_path: Path) -> None:
    """It is migrated under load, as in every deploy; those that were there notice nothing, those that start say so."""
    letters = [Message.of(Transfer(n=n)) for n in range(10)]
    with _pool(site, OLD, "before") as before:
        consuming(before)
        published = [site.publish(Transfer(n=n, work_seconds=0.01)).job_id for n in range(170)]
        until(lambda: site.states().get("completed", 0) > 20, timeout_seconds=30, what="some to be done")
        migrate_to_next(site.database_url, tmp_path / "versions", revision="9001")
        published += [site.publish(Transfer(n=n)).job_id for n in range(50)]
        until(lambda: site.states().get("completed", 0) > 170, timeout_seconds=60, what="more to be done")
        with _pool(site, OLD, "after") as after:
            consuming(after)
            assert before.stop() == 0
            with LedgerProducer(site.database_url) as producer:
                published += [producer.publish(Transfer(n=n)).job_id for n in range(20)]
            failing = [site.publish(Transfer(n=n, fails_first=True)).job_id for n in range(10)]
            admit(site.session, [Offer(letter, "faults", State.DEAD, Reason.ATTEMPTS) for letter in letters])
            replay_dead(site.session, selection=Selection(), actor="test", per_second=100.0)
            count = len(published) + len(failing) + len(letters)
            until(lambda: site.states() == {"completed": count}, timeout_seconds=60, what="the end of all")
            said = {line["schema"] for line in after.logged("worker process started")}
            assert after.stop() == 0
    assert Counter(site.effects()) == Counter([*published, *failing, *(letter.id for letter in letters)])
    assert {site.job(job_id)["attempts"] for job_id in published} == {1}
    assert {site.job(job_id)["attempts"] for job_id in failing} == {2}
    assert said == {f"at 9001, newer than this release ({known_revisions()[-1]}), which runs on it too"}
    filled = text("SELECT count(*) FROM jobs WHERE region = 'north'")
    assert site.session.connection.execute(filled).scalar_one() >= 70


def _pool(site: Site, modules: list[str], name: str) -> RunningPool:
    return site.pool(modules=modules, name=name, threads=2, constants=CONSTANTS, with_dispatcher=name != "new")
