"""What a handler is promised, on all three transports: SQLite alone, Postgres alone, Postgres with RabbitMQ."""

import pytest
from tests.workers import jobs
from tests.workers.site import Site


@pytest.mark.parametrize("job", [jobs.Note(name="plain"), jobs.AsyncNote(name="in a coroutine")])
def test_a_handler_runs_once_and_its_job_is_completed(site: Site, job: jobs.Note | jobs.AsyncNote) -> None:
    """Plain or async, the row tells the same story."""
    row = site.run(job)
    assert (row["state"], row["attempts"], row["history"]) == ("completed", 1, [])
    assert [event["name"] for event in site.sink.events("ran", job=row["id"])] == [job.name]
