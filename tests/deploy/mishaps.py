"""Everything that a metric counts is made to happen, on a running stack."""

import os
import signal
from datetime import UTC, datetime, timedelta

from tests.deploy.stack import Stack
from tests.producers.queues import NobodyListens
from tests.schedules.jobs import declared, start
from tests.waiting import until
from tests.workers import jobs
from tests.workers.amqp import channel_on, put, put_note

from penstock.ledger.jobs import cancel_job
from penstock.ledger.schedules import change_schedule
from penstock.producers.ledger_producer import LedgerProducer
from penstock.schemas import Message


def cause_all(stack: Stack) -> None:
    """Returns when the pool has counted each of them."""
    good_work_and_bad(stack)
    messages_of_all_kinds(stack)
    a_cancel_that_is_ignored(stack)
    a_death_in_the_middle_of_a_job(stack)
    a_stop_in_the_middle_of_a_job(stack)
    jobs_that_nobody_takes(stack)
    jobs_by_every_way_in(stack)
    replies_to_those_who_wait_and_to_those_who_have_gone(stack)
    a_tick_that_nobody_was_there_for(stack)


def good_work_and_bad(stack: Stack) -> None:
    """Completed, snoozed, retried, dead."""
    site = stack.site
    site.run(jobs.Note(name="good"))
    site.run(jobs.Snooze(name="tired", seconds=0.1))
    assert site.run(jobs.Failing(kind="value"))["state"] == "dead"
    assert site.run(jobs.Failing(kind="permanent"))["state"] == "dead"


def messages_of_all_kinds(stack: Stack) -> None:
    """Duplicates, one that is due later, one that nobody can read."""
    with channel_on(stack.site.broker_url) as channel:
        job_id = put_note(channel, "twice")
        put_note(channel, "twice", job_id=job_id)
        put_note(channel, "later", headers={"due-at": (datetime.now(UTC) + timedelta(hours=1)).isoformat()})
        put(channel, "test.note", b"no JSON")
    for metric in (
        "penstock_jobs_duplicates_total",
        "penstock_jobs_absorbed_total",
        "penstock_messages_quarantined_total",
    ):
        await_count(stack, metric)


def a_cancel_that_is_ignored(stack: Stack) -> None:
    """Cancelled, and the outcome that comes later is fenced."""
    job_id = start_gated(stack, "deaf")
    cancel_job(stack.site.session, job_id, actor="test")
    stack.site.await_state(job_id, "cancelled")
    stack.site.sink.open_gate("deaf")
    await_count(stack, "penstock_jobs_fenced_total")


def a_death_in_the_middle_of_a_job(stack: Stack) -> None:
    """A process death, a rescue, and a suspect lane."""
    start_gated(stack, "killed")
    os.kill(stack.pool.workers()[0], signal.SIGKILL)
    await_count(stack, "penstock_jobs_rescued_total")
    await_count(stack, "penstock_process_deaths_total")
    stack.site.sink.open_gate("killed")


def a_stop_in_the_middle_of_a_job(stack: Stack) -> None:
    """Handed back at the end of the grace."""
    until(stack.pool.workers, what="a worker process")
    start_gated(stack, "stopped")
    os.kill(stack.pool.workers()[0], signal.SIGTERM)
    await_count(stack, "penstock_jobs_released_total")
    stack.site.sink.open_gate("stopped")


def jobs_that_nobody_takes(stack: Stack) -> None:
    """One that waits in RabbitMQ, and one whose queue is not ours, so that it stays due."""
    with channel_on(stack.site.broker_url) as channel:
        channel.queue_declare("classic", durable=True)
    producer = LedgerProducer(stack.site.database_url)
    for queue in ("nobody", "classic"):
        producer.publish_message(Message.raw(type=f"{queue}.job", body=b"{}"), queue=queue)


def jobs_by_every_way_in(stack: Stack) -> None:
    """Receipts and a duplicate, refusals and an error over HTTP; a row that is published, and one that is held."""
    assert [stack.submit("by HTTP", key="twice").json()["duplicate"] for _ in range(2)] == [False, True]
    assert stack.submit("another", key="twice").status_code == 409
    job_id = stack.enqueue(jobs.Note(name="by the outbox"))
    stack.site.await_end(job_id)
    stack.enqueue(NobodyListens(n=1))
    until(lambda: "penstock_outbox_held_rows 1.0" in stack.metrics("relay"), timeout_seconds=30, what="a held row")


def replies_to_those_who_wait_and_to_those_who_have_gone(stack: Stack) -> None:
    """A receipt and a result, and a queue that is not there any more."""
    with channel_on(stack.site.broker_url) as channel:
        channel.queue_declare("penstock.replies.here", durable=True)
        for queue in ("penstock.replies.here", "penstock.replies.gone"):
            put_note(channel, "and tell me", reply_to=queue)
    for metric in ('penstock_replies_sent_total{kind="result"} 1.0', "penstock_replies_unheard_total 1.0"):
        until(lambda metric=metric: metric in stack.metrics("dispatch"), timeout_seconds=30, what=metric)  # type: ignore[misc]


def a_tick_that_nobody_was_there_for(stack: Stack) -> None:
    """An hour ago."""
    start(stack.site.session, declared("0 * * * *", name="hourly"))
    change_schedule(stack.site.session, "hourly", next_at=datetime.now(UTC) - timedelta(hours=1))
    until(lambda: "penstock_schedule_late_total" in stack.metrics("dispatch"), timeout_seconds=30, what="the tick")


def start_gated(stack: Stack, name: str) -> str:
    """The id of a job that runs until its gate opens."""
    job_id = stack.site.publish(jobs.Gated(name=name)).job_id
    stack.site.sink.await_events("started", job=job_id)
    return job_id


def await_count(stack: Stack, metric: str) -> None:
    """Wait until the pool has counted at least one."""
    until(lambda: stack.pool.metric(metric) >= 1, timeout_seconds=30, what=metric)
