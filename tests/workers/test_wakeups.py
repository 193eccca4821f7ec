"""A pool on Postgres alone: jobs start when they come, and no later than soon when nobody has told it."""

from datetime import timedelta

import pytest
from sqlalchemy import text
from tests.waiting import until
from tests.workers import jobs
from tests.workers.site import Site

from penstock.workers.ledger_intake import IDLE_SECONDS_MAX

# Longer than any test waits: what starts was announced, or waited for.
NEVER = {"ledger_intake.IDLE_SECONDS_MAX": 3600.0}
HIDDEN = text("UPDATE jobs SET state = 'available', due_at = now() WHERE id = :id")


def listening(site: Site) -> None:
    """Wait until the pool has said that it listens."""
    query = text("SELECT count(*) FROM leases WHERE name = 'listeners'")
    until(lambda: site.session.connection.execute(query).scalar(), what="somebody who listens")


def test_jobs_start_when_they_are_announced_or_due(own_small_site: Site) -> None:
    """Published, followed up, retried, snoozed, and due later."""
    site = own_small_site
    with site.pool(constants=NEVER) as pool:
        listening(site)
        for _ in range(3):
            assert site.run(jobs.Note(name="now"))["state"] == "completed"
        assert site.run(jobs.Note(name="later"), delay=timedelta(seconds=1.5))["state"] == "completed"
        assert site.run(jobs.Failing(kind="value"))["attempts"] == 3
        assert site.run(jobs.Snooze(seconds=0.4, name="snoozed"))["state"] == "completed"
        site.run(jobs.Parent(name="child"))
        site.sink.await_events("ran", name="child")
        assert pool.stop(timeout_seconds=20) == 0


def test_a_job_of_which_nobody_was_told_starts_all_the_same(own_small_site: Site) -> None:
    """It is put there by other hands."""
    site = own_small_site
    with site.pool():
        listening(site)
        waited = []
        for _ in range(3):  # the machine has others to serve
            job_id = site.publish(jobs.Note(name="hidden"), delay=timedelta(days=1)).job_id
            until(lambda job_id=job_id: site.job(job_id)["state"] == "scheduled", what="the job")  # type: ignore[misc]
            site.session.connection.execute(HIDDEN, {"id": job_id})
            row = site.await_end(job_id, timeout_seconds=IDLE_SECONDS_MAX + 10)
            waited.append(row["started_at"] - row["due_at"])
        assert min(waited) < timedelta(seconds=IDLE_SECONDS_MAX + 1)


@pytest.mark.faults
def test_a_lost_connection_only_means_that_it_listens_on_another(own_small_site: Site) -> None:
    """All of the pool's are ended, again and again."""
    site = own_small_site
    end_all = text(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'penstock-engine' AND pid <> pg_backend_pid()"
    )
    with site.pool(constants=NEVER):
        for _ in range(3):
            listening(site)
            assert site.run(jobs.Note(name="before"))["state"] == "completed"
            assert site.session.connection.execute(end_all).scalar()
            assert site.run(jobs.Note(name="after"))["attempts"] == 1
