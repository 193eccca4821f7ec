"""`penstock jobs`."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert
from tests.console.command import Command
from tests.ledger.samples import put, row_of, state_of

from penstock.ledger.audit import list_audit
from penstock.ledger.database import Session
from penstock.ledger.tables import aliases, attempts, effects
from penstock.schemas.identifiers import new_job_id

SECRET = b'{"card": "4111-1111"}'
FUTURE = datetime.now(UTC) + timedelta(days=1)  # from the collection of the tests, which may be long ago


def test_the_newest_job_comes_first(penstock: Command, session: Session) -> None:
    """With its state, its tries and its time."""
    older, newer = put(session), put(session, state="dead", reason="attempts", attempts=3, finished_at=FUTURE)
    lines = penstock("jobs", "list").out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith(("0", "1"))] == [newer, older]
    assert "dead (attempts)" in lines[1]


@pytest.mark.parametrize(
    ("option", "columns"),
    [
        (("--state", "dead"), {"state": "dead"}),
        (("--type", "demo.other"), {"type": "demo.other"}),
        (("--queue", "other"), {"queue": "other"}),
    ],
)
def test_a_list_can_be_narrowed(
    option: tuple[str, str], columns: dict[str, Any], penstock: Command, session: Session
) -> None:
    """By state, type and queue."""
    put(session)
    wanted = put(session, **columns)
    assert [job["id"] for job in penstock("jobs", "list", *option, "--json").documents] == [wanted]


def test_a_long_list_says_how_to_go_on(penstock: Command, session: Session) -> None:
    """With the id below which the next page begins."""
    ids = sorted((put(session) for _ in range(3)), reverse=True)
    first = penstock("jobs", "list", "--limit", "2")
    assert f"--before {ids[1]}" in first.out
    rest = penstock("jobs", "list", "--before", ids[1], "--json")
    assert [job["id"] for job in rest.documents] == ids[2:]


def test_no_list_shows_a_payload(penstock: Command, session: Session) -> None:
    """Neither for people nor for programs."""
    put(session, payload=SECRET)
    assert "4111-1111" not in penstock("jobs", "list").out + penstock("jobs", "list", "--json").out


@pytest.mark.parametrize("width", ["80", "100"])
def test_ids_are_whole_at_any_width(width: str, penstock: Command, session: Session) -> None:
    """A type that is long is wrapped; an id must be copied."""
    job_id = put(session, type="notifications.email.newsletter.monthly", queue="notifications.bulk")
    out = penstock("jobs", "list", width=width).out
    assert job_id in out
    assert max(map(len, out.splitlines())) <= int(width)


def test_nothing_from_a_job_reaches_the_terminal_as_a_control_character(penstock: Command, session: Session) -> None:
    """An error may hold whatever a stranger has sent."""
    job_id = put(session, state="dead", reason="permanent", error="\x1b[31mred\x07 [bold]x[/bold]", finished_at=FUTURE)
    for words in (("jobs", "show", job_id), ("dead", "list"), ("dead", "list", "--each")):
        out = penstock(*words).out
        assert not set(out) & {"\x1b", "\x07"}
    assert r"\x1b[31mred\x07 [bold]x[/bold]" in penstock("jobs", "show", job_id).out


def test_a_job_is_shown_with_its_history_and_effects(penstock: Command, session: Session) -> None:
    """Each failure with its class, each effect with its key."""
    job_id = put(session, state="retryable", attempts=1, due_at=FUTURE, error="TimeoutError: too slow")
    now = datetime.now(UTC)
    failure = {"attempt": 1, "kind": "failed", "error_class": "TimeoutError", "message": "too slow"}
    session.connection.execute(insert(attempts).values(job_id=job_id, created_at=now, **failure))
    effect = {"step": "send", "key": "key-1", "state": "intended", "intended_at": now}
    session.connection.execute(insert(effects).values(job_id=job_id, **effect))
    shown = penstock("jobs", "show", job_id).out
    for words in (
        "TimeoutError: too slow",
        "send",
        "key-1",
        "intended",
        "attempt 1 failed; the next is due",
    ):
        assert words in shown
    document = penstock("jobs", "show", job_id, "--json").document
    assert [row["error_class"] for row in document["history"]] == ["TimeoutError"]
    assert [row["step"] for row in document["effects"]] == ["send"]


def test_a_payload_is_hidden_until_it_is_asked_for_and_the_audit_knows_who_did(
    penstock: Command, session: Session
) -> None:
    """`--payload` shows it."""
    job_id = put(session, payload=SECRET)
    hidden = penstock("jobs", "show", job_id).out + penstock("jobs", "show", job_id, "--json").out
    assert "4111-1111" not in hidden
    assert "21 bytes, hidden" in hidden
    assert list_audit(session) == []
    assert "4111-1111" in penstock("jobs", "show", job_id, "--payload").out
    shown = penstock("jobs", "show", job_id, "--payload", "--json", "--actor", "bob")
    assert shown.document["payload"] == {"card": "4111-1111"}
    assert [(row["actor"], row["action"], row["target"]) for row in list_audit(session)] == [
        ("bob", "show payload", job_id),
        ("ann", "show payload", job_id),
    ]


def test_no_line_ends_in_spaces(penstock: Command, session: Session) -> None:
    """What is not seen on a terminal is searched, compared and pasted."""
    jobs = [put(session, type="demo.a"), put(session, type="demo.longer")]
    lines = (penstock("jobs", "list").out + penstock("jobs", "show", jobs[0]).out).splitlines()
    assert [line for line in lines if line != line.rstrip()] == []


def test_a_result_is_hidden_like_the_payload(penstock: Command, session: Session) -> None:
    """What a handler leaves behind may hold what was in its payload."""
    job_id = put(session, state="completed", result=b'{"card":"4111-1111"}')
    assert "result    20 bytes, hidden (--payload shows it)" in penstock("jobs", "show", job_id).out
    document = penstock("jobs", "show", job_id, "--json").document
    assert (document["result_bytes"], "result" in document) == (20, False)
    assert "4111-1111" in penstock("jobs", "show", job_id, "--payload").out
    assert penstock("jobs", "show", job_id, "--payload", "--json").document["result"] == {"card": "4111-1111"}


def test_a_duplicate_answers_for_the_job_it_duplicates(penstock: Command, session: Session) -> None:
    """Showing, hurrying and cancelling by its id."""
    job_id, alias = put(session, state="scheduled", due_at=FUTURE), new_job_id()
    session.connection.execute(insert(aliases).values(id=alias, job_id=job_id, created_at=datetime.now(UTC)))
    shown = penstock("jobs", "show", alias, "--json").document
    assert (shown["id"], shown["alias"]) == (job_id, alias)
    assert penstock("jobs", "retry", alias).code == 0
    assert state_of(session, job_id) == "available"
    assert penstock("jobs", "cancel", alias, "--json").document == {"job_id": job_id, "outcome": "cancelled"}
    assert state_of(session, job_id) == "cancelled"
    assert state_of(session, alias) == "unseen"


def test_cancelling_says_what_became_of_the_job(penstock: Command, session: Session) -> None:
    """At once, asked, to come, or too late."""
    waiting, executing, unseen = put(session), put(session, state="executing", token=1), new_job_id()
    completed = put(session, state="completed", finished_at=FUTURE)
    said = {
        waiting: ("cancelled", 0),
        executing: ("requested", 0),
        unseen: ("unseen", 0),
        completed: ("completed", 1),
    }
    for job_id, (outcome, code) in said.items():
        answer = penstock("jobs", "cancel", job_id, "--json")
        assert (answer.document["outcome"], answer.code) == (outcome, code)
    assert state_of(session, waiting) == state_of(session, unseen) == "cancelled"
    assert row_of(session, executing).cancel_requested_at is not None
    assert "it was asked to cancel" in penstock("jobs", "show", executing).out
    assert "is completed already" in penstock("jobs", "cancel", completed).out


def test_a_waiting_job_can_be_let_run_now(penstock: Command, session: Session) -> None:
    """One that does not wait cannot, and the line says what would help."""
    waiting = put(session, state="retryable", due_at=FUTURE)
    dead = put(session, state="dead", reason="attempts", finished_at=FUTURE)
    assert penstock("jobs", "retry", waiting, "--json").document == {"job_id": waiting, "outcome": "due"}
    row = row_of(session, waiting)
    assert row.state == "available"
    assert row.due_at < FUTURE - timedelta(hours=1)
    refused = penstock("jobs", "retry", dead)
    assert refused.code == 1
    assert f"`penstock dead replay {dead}`" in refused.error


@pytest.mark.parametrize("verb", ["show", "retry"])
def test_an_unknown_job_is_not_found(verb: str, penstock: Command, session: Session) -> None:
    """Exit code 1."""
    answer = penstock("jobs", verb, new_job_id())
    assert answer.code == 1
    assert "is not in the ledger" in answer.error


@pytest.mark.parametrize("verb", ["show", "cancel", "retry"])
def test_what_is_no_id_is_bad_input(verb: str, penstock: Command, session: Session) -> None:
    """Exit code 2, and Postgres is not even asked."""
    answer = penstock("jobs", verb, "42")
    assert answer.code == 2
    assert "'42' is not a job id" in answer.error


@pytest.mark.parametrize("words", [("--state", "asleep"), ("--limit", "0"), ("--before", "x")])
def test_a_filter_that_cannot_be_is_bad_input(words: tuple[str, ...], penstock: Command, session: Session) -> None:
    """Exit code 2 with the option's name, or what was expected."""
    assert penstock("jobs", "list", *words).code == 2
