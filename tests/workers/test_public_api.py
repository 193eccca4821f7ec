"""What a handler is promised, on all three transports: SQLite alone, Postgres alone, Postgres with RabbitMQ."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.waiting import until
from tests.workers import jobs
from tests.workers.site import Site

from penstock.ledger.dead_letters import Selection, replay_dead
from penstock.ledger.jobs import cancel_job
from penstock.producers import KeyConflict
from penstock.schemas import Job
from penstock.schemas.identifiers import new_job_id


@pytest.mark.parametrize("job", [jobs.Note(name="plain"), jobs.AsyncNote(name="in a coroutine")])
def test_a_handler_runs_once_and_its_job_is_completed(site: Site, job: jobs.Note | jobs.AsyncNote) -> None:
    """Plain or async, the row tells the same story."""
    row = site.run(job)
    assert (row["state"], row["attempts"], row["history"]) == ("completed", 1, [])
    assert [event["name"] for event in site.sink.events("ran", job=row["id"])] == [job.name]


def test_the_context_tells_a_handler_what_it_runs(site: Site) -> None:
    """Ids, key, deadline, and whose job it is; the result can be asked for afterwards."""
    before = datetime.now(UTC)
    row = site.run(jobs.Facts(), key="the key", tenant="acme", correlation_id="order 7")
    [facts] = site.sink.events("facts", job=row["id"])
    assert facts["idempotency_key"] == row["id"]
    assert (facts["attempt"], facts["key"], facts["tenant"]) == (1, "the key", "acme")
    assert (facts["correlation_id"], facts["cancel_requested"]) == ("order 7", False)
    left = datetime.fromisoformat(facts["deadline"]) - before
    assert timedelta(seconds=30) <= left < timedelta(seconds=60)
    assert bytes(row["result"]) == b'{"seen":"%s"}' % row["id"].encode()
    [line] = site.running.logged("a handler says hello", job_id=row["id"])
    assert (line["job_type"], line["attempt"]) == ("test.facts", 1)


def test_a_transaction_commits_effect_completion_and_follow_ups_together(site: Site) -> None:
    """After it there is one row, one completed job and one follow-up that runs."""
    site.make_effects_table()
    row = site.run(jobs.Write(name="together"))
    assert (row["state"], row["attempts"]) == ("completed", 1)
    assert site.effects().count("together") == 1
    assert len(site.sink.await_events("ran", name="after together")) == 1


def test_an_error_inside_a_transaction_rolls_everything_back(site: Site) -> None:
    """No effect, no follow-up, and an attempt used up."""
    site.make_effects_table()
    row = site.run(jobs.Write(name="undone", fail="inside"))
    assert (row["state"], row["reason"], row["attempts"]) == ("dead", "attempts", 2)
    assert "undone" not in site.effects()
    assert site.sink.events("ran", name="after undone") == []


@pytest.mark.parametrize("inside", ["transaction", "checkpoint"])
@pytest.mark.parametrize("how", ["commit", "rollback"])
def test_a_handler_cannot_end_a_transaction_that_is_not_its_own(site: Site, how: str, inside: str) -> None:
    """What it committed would stand unfenced; after its rollback a checkpoint would hold no fence. The connection is
    whole again for the next job."""
    site.make_effects_table()
    row = site.run(jobs.Meddle(how=how, inside=inside))
    assert (row["state"], row["history"][0]["error_class"]) == ("dead", "RuntimeError")
    assert "() stands inside ctx." in row["history"][0]["message"]  # without the words that the payload has, too
    assert f"{how} in {inside}" not in site.effects()
    next_name = f"after {how} in {inside}"
    assert site.run(jobs.Write(name=next_name))["state"] == "completed"
    assert site.effects().count(next_name) == 1


@pytest.mark.parametrize("how", ["begin", "session"])
def test_what_a_handler_begins_inside_is_a_part_of_the_transaction(site: Site, how: str) -> None:
    """Committed by itself it stands only if all of it does."""
    site.make_effects_table()
    failed = site.run(jobs.Meddle(how=how, fail=True))
    assert (failed["state"], failed["history"][0]["error_class"]) == ("dead", "ValueError")
    assert site.run(jobs.Meddle(how=how))["state"] == "completed"
    assert [name for name in site.effects() if name.startswith(how)] == [f"{how} False"]


@pytest.mark.parametrize("fail", ["after", "second", "publish", "result"])
def test_an_error_after_the_transaction_is_logged_and_not_retried(site: Site, fail: str) -> None:
    """What came too late to be written is an error too: a second transaction, a follow-up, a result."""
    site.make_effects_table()
    name = f"completed before {fail}"
    row = site.run(jobs.Write(name=name, fail=fail))
    line = site.running.await_log("the handler raised after its transaction had completed the job", job_id=row["id"])
    assert line["error_class"] == ("ValueError" if fail == "after" else "RuntimeError")
    assert (row["state"], row["attempts"], row["result"]) == ("completed", 1, None)
    assert site.effects().count(name) == 1
    assert f"{name} again" not in site.effects()
    assert len(site.sink.events("started", job=row["id"])) == 1


def test_coroutines_write_in_transactions_of_their_own(site: Site) -> None:
    """Many at once, each in one go."""
    site.make_effects_table()
    ids = [site.publish(jobs.AsyncWrite(name=f"async {n}")).job_id for n in range(20)]
    assert {site.await_end(job_id)["state"] for job_id in ids} == {"completed"}
    assert sorted(name for name in site.effects() if name.startswith("async ")) == sorted(
        f"async {n}" for n in range(20)
    )


@pytest.mark.parametrize("in_checkpoint", [False, True], ids=["transaction", "checkpoint"])
def test_an_await_inside_a_transaction_is_refused_and_holds_up_nobody(site: Site, in_checkpoint: bool) -> None:
    """It holds locks for which the others would make the only thread of all coroutines wait."""
    site.make_effects_table()
    began = time.monotonic()
    bad = [
        site.publish(jobs.AsyncWrite(name=f"awaits {n}", inside=True, in_checkpoint=in_checkpoint)).job_id
        for n in range(3)
    ]
    good = [site.publish(jobs.AsyncWrite(name=f"good {n} {in_checkpoint}")).job_id for n in range(6)]
    for job_id in bad:
        row = site.await_end(job_id)
        assert (row["state"], row["reason"]) == ("dead", "attempts")
        assert "await first, then write" in row["error"]
    assert {site.await_end(job_id)["state"] for job_id in good} == {"completed"}
    assert time.monotonic() - began < 10
    assert [name for name in site.effects() if name.startswith("awaits")] == []
    assert len([name for name in site.effects() if name.startswith("good") and name.endswith(str(in_checkpoint))]) == 6


@pytest.mark.parametrize("outer", ["transaction", "checkpoint"])
@pytest.mark.parametrize("inner", ["transaction", "checkpoint", "effect"])
def test_nothing_with_a_transaction_of_its_own_stands_inside_another(site: Site, outer: str, inner: str) -> None:
    """It would wait for the locks around it until a timeout."""
    site.make_effects_table()
    row = site.run(jobs.Nested(outer=outer, inner=inner))
    assert (row["state"], row["reason"]) == ("dead", "attempts")
    assert "put it before or after" in row["error"]
    assert site.sink.events("inside", job=row["id"]) == []
    assert f"{inner} in {outer}" not in site.effects()


def test_a_checkpoint_outlives_the_failure_of_its_attempt(site: Site) -> None:
    """Progress that the next attempt can build on."""
    site.make_effects_table()
    row = site.run(jobs.Checkpoint(name="progress"))
    assert (row["state"], row["attempts"]) == ("completed", 2)
    assert [name for name in site.effects() if name.startswith("progress")] == ["progress 1", "progress 2"]


def test_a_snooze_uses_up_no_attempt(site: Site) -> None:
    """The job runs again after the time it asked for."""
    row = site.run(jobs.Snooze(seconds=0.3, name="snoozed"))
    assert (row["state"], row["attempts"], row["history"]) == ("completed", 1, [])
    assert [event["attempt"] for event in site.sink.events("started", job=row["id"])] == [1, 1]


@pytest.mark.parametrize("delay_seconds", [0.0, 0.5])
def test_follow_ups_are_accepted_with_the_completion_under_their_keys(site: Site, delay_seconds: float) -> None:
    """Twice the same key is once the same job; a delay is kept."""
    name = f"child, {delay_seconds} s later"
    parent = site.run(jobs.Parent(name=name, delay_seconds=delay_seconds))
    [ran] = site.sink.await_events("ran", name=name)
    child = site.await_end(ran["job"])
    assert child["correlation_id"] == parent["id"]
    assert child["dedup_key"] == f"child of {name}"
    assert child["started_at"] - parent["started_at"] >= timedelta(seconds=delay_seconds)
    assert len(site.sink.events("ran", name=name)) == 1


@pytest.mark.parametrize(
    ("fail", "effects", "steps"),
    [
        ("", 1, [(True, False)]),
        ("later", 1, [(True, False), (False, True)]),
        ("refused", 1, [(True, False), (True, False)]),
        ("not done", 1, [(True, False), (True, False)]),
        ("unknown", 2, [(True, False), (True, True)]),
    ],
    ids=["at once", "failed after it", "refused", "said not to be done", "cut off"],
)
def test_an_effect_is_skipped_once_it_is_known_to_have_happened(
    site: Site, fail: str, effects: int, steps: list[tuple[bool, bool]]
) -> None:
    """Whatever fails around it; if nobody knows, it is repeated under the same idempotency key."""
    row = site.run(jobs.Effect(name="effect", fail=fail))
    assert row["state"] == "completed"
    seen = site.sink.events("step", job=row["id"])
    assert [(step["needed"], step["repeated"]) for step in seen] == steps
    done = site.sink.events("effect", job=row["id"])
    assert len(done) == effects
    assert {step["key"] for step in seen} == {f"{row['id']}:send"}
    [known] = row["effects"]
    assert (known["state"], bytes(known["result"])) == ("done", b'{"message":7}')
    if fail == "later":
        assert seen[1]["result"] == {"message": 7}


def test_an_effect_of_unknown_outcome_is_parked_where_that_is_the_policy(site: Site) -> None:
    """A person has to look; the handler does not run the step again."""
    row = site.run(jobs.ParkedEffect(name="parked"))
    assert (row["state"], row["reason"]) == ("dead", "outcome_unknown")
    assert len(site.sink.events("effect", job=row["id"])) == 1
    assert len(site.sink.events("started", job=row["id"])) == 2


def test_a_parked_effect_is_done_when_a_person_replays_its_job(site: Site) -> None:
    """They have looked; without that the job would be parked again, for ever. It knows that it is a repetition."""
    row = site.run(jobs.ParkedEffect(name="replayed", cut_off="once"))
    assert (row["state"], row["reason"]) == ("dead", "outcome_unknown")
    replay_dead(site.session, selection=Selection(ids=(row["id"],)), actor="ada")
    row = site.await_end(row["id"])
    assert (row["state"], row["reason"]) == ("completed", None)
    assert [event["repeated"] for event in site.sink.events("effect", job=row["id"])] == [False, True]


@pytest.mark.parametrize(
    ("answer", "state", "reason", "effects"),
    [("yes", "completed", None, 1), ("no", "completed", None, 2), ("perhaps", "dead", "outcome_unknown", 1)],
)
def test_the_provider_is_asked_where_that_is_the_policy(
    site: Site, answer: str, state: str, reason: str | None, effects: int
) -> None:
    """Yes: done. No: again. Nobody can tell: parked."""
    row = site.run(jobs.AskedEffect(step=answer))
    assert (row["state"], row["reason"]) == (state, reason)
    assert len(site.sink.events("effect", job=row["id"])) == effects
    assert [event["key"] for event in site.sink.events("asked", step=answer)] == [f"{row['id']}:{answer}"]


@pytest.mark.parametrize(
    ("kind", "reason", "attempts"),
    [
        ("value", "attempts", 3),
        ("expected", "permanent", 1),
        ("permanent", "permanent", 1),
        ("unknown outcome", "outcome_unknown", 1),
        ("system exit", "attempts", 3),
        ("interrupt", "attempts", 3),
        ("base", "attempts", 3),
        ("memory", "attempts", 3),
        ("recursion", "attempts", 3),
        ("unprintable", "attempts", 3),
        ("unprintable by exit", "attempts", 3),
        ("group", "attempts", 3),
        ("generator exit", "attempts", 3),
        ("cancelled", "attempts", 3),
    ],
)
def test_every_kind_of_exception_ends_the_attempt_and_nothing_else(
    site: Site, kind: str, reason: str, attempts: int
) -> None:
    """The process lives on; the history has one line for each attempt."""
    row = site.run(jobs.Failing(kind=kind))
    assert (row["state"], row["reason"], row["attempts"]) == ("dead", reason, attempts)
    assert [attempt["attempt"] for attempt in row["history"]] == list(range(1, attempts + 1))
    assert len({event["pid"] for event in site.sink.events("started")}) == 1


@pytest.mark.parametrize("kind", ["value", "system exit", "interrupt", "base", "cancelled", "timeout"])
@pytest.mark.parametrize("in_task", [False, True], ids=["awaited", "in a task of its own"])
def test_no_coroutine_ends_the_event_loop(site: Site, kind: str, in_task: bool) -> None:
    """The next async handler finds it running; what a lost task raised is not the job's failure."""
    row = site.run(jobs.AsyncFailing(kind=kind, in_task=in_task))
    assert (row["state"], row["reason"]) == (("completed", None) if in_task else ("dead", "attempts"))
    assert site.run(jobs.AsyncNote(name=f"after {kind}"))["state"] == "completed"


def test_a_coroutine_is_stopped_at_its_timeout_and_may_clean_up(site: Site) -> None:
    """Cooperatively: its process goes on."""
    before = set(site.running.workers())
    row = site.run(jobs.AsyncOverrun())
    assert (row["state"], row["reason"]) == ("dead", "attempts")
    assert [attempt["kind"] for attempt in row["history"]] == ["timeout"]
    assert len(site.sink.events("cleaned up", job=row["id"])) == 1
    assert set(site.running.workers()) == before


def test_an_at_most_once_job_that_fails_is_dead_and_never_started_again(site: Site) -> None:
    """An exception, or a snooze, which such a job may not take."""
    for how in ("fail", "snooze"):
        row = site.run(jobs.OnceFailing(how=how))
        assert row["state"] == "dead"
        assert len(site.sink.events("started", job=row["id"])) == 1


def test_a_key_is_free_again_after_its_time_and_its_job(site: Site) -> None:
    """`unique_for` of six seconds: twice within them is once."""
    first = site.run(jobs.Unique(name="first"), key="unique")
    again = site.publish(jobs.Unique(name="first"), key="unique").job_id
    later = until(lambda: _ran_anew(site, first["id"]), what="the key to be free again")
    assert later is not None
    assert later["id"] not in (first["id"], again)
    assert len(site.sink.events("ran", name="first")) == 1


def _ran_anew(site: Site, first: str) -> dict[str, Any] | None:
    try:
        job_id = site.publish(jobs.Unique(name="second"), key="unique").job_id
    except KeyConflict:  # known at once where there is no broker
        return None
    row = until(lambda: site.job(job_id), what="the ledger to have seen it")
    if row["reason"] == "key_conflict" or row["id"] == first:
        return None
    return site.await_end(row["id"])


def test_a_job_that_waits_is_cancelled_at_once(site: Site) -> None:
    """It never runs."""
    job_id = site.publish(jobs.Note(name="too late"), delay=timedelta(hours=1)).job_id
    until(lambda: site.job(job_id), what="the ledger to have seen it")
    assert cancel_job(site.session, job_id, actor="test") == "cancelled"
    assert site.job(job_id)["state"] == "cancelled"


def test_a_running_job_learns_that_it_is_to_be_cancelled(site: Site) -> None:
    """`ctx.cancel_requested` tells it, `ctx.check_cancelled` ends it."""
    job_id = site.publish(jobs.Cancellable(name="asked")).job_id
    site.sink.await_events("started", job=job_id)
    assert cancel_job(site.session, job_id, actor="test") == "requested"
    row = site.await_end(job_id)
    assert (row["state"], row["reason"]) == ("cancelled", "cancelled")
    assert len(site.sink.events("noticed", job=job_id)) == 1


def test_a_job_that_ignores_its_cancelling_is_fenced(site: Site) -> None:
    """What it does afterwards does not count."""
    job_id = site.publish(jobs.Gated(name="deaf")).job_id
    site.sink.await_events("started", job=job_id)
    cancel_job(site.session, job_id, actor="test")
    assert site.await_end(job_id)["state"] == "cancelled"
    site.sink.open_gate("deaf")
    site.sink.await_events("ran", job=job_id)
    assert site.job(job_id)["state"] == "cancelled"


def test_an_id_that_is_cancelled_before_it_arrives_never_runs(site: Site) -> None:
    """The tombstone is what the claim honours."""
    job_id = new_job_id()
    assert cancel_job(site.session, job_id, actor="test") == "cancelled"
    site.publish(jobs.Note(name="cancelled before"), job_id=job_id)
    assert site.run(jobs.Note(name="after it"))["state"] == "completed"
    assert site.sink.events("ran", name="cancelled before") == []


def test_a_due_time_is_kept(site: Site) -> None:
    """A job published for later starts no earlier."""
    due = datetime.now(UTC) + timedelta(seconds=0.7)
    row = site.run(jobs.Note(name="later"), due_at=due)
    assert row["started_at"] >= due
    assert row["state"] == "completed"


def test_an_unreadable_payload_is_a_dead_letter_that_names_the_field(site: Site) -> None:
    """Published by somebody who has another idea of the contract."""

    class Note(Job, type="test.note", queue="test"):
        title: str

    row = site.run(Note(title="a secret title"))
    assert (row["state"], row["reason"], row["attempts"]) == ("dead", "invalid_payload", 0)
    assert "field 'name'" in row["error"]
    assert "a secret title" not in row["error"]
