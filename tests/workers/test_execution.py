"""What follows an attempt: decided without I/O, and never by an exception that ends the thread."""

import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import field_validator
from tests.workers import jobs
from tests.workers.samples import a_claim, an_entry, capture_logs, execute, executor
from tests.workers.sink import VARIABLE

from penstock.ledger.settlement import Failure, Outcome
from penstock.ledger.state import Reason, State
from penstock.schemas import Bury, Job, Retry
from penstock.workers import Context, Permanent, handler
from penstock.workers.execution import decide_retry


class Deciding:
    """A retry policy that does what the test wants."""

    def __init__(self, decision: Any) -> None:
        self.decision = decision

    def decide(self, attempt: int, error: BaseException) -> Retry | Bury:
        if isinstance(self.decision, BaseException):
            raise self.decision
        return self.decision  # type: ignore[no-any-return]


def failing_job(**options: Any) -> Any:
    """A handler that always fails, under a contract with these options."""

    class Fails(Job, type="test.fails", queue="test", **options):
        pass

    @handler(Fails)
    def fails(job: Fails, ctx: Context) -> None:
        raise ValueError("boom")

    return Fails, fails


def outcome_of(function: Any, job: Job, **fields: Any) -> Outcome:
    found = execute(function, job, **fields)
    assert isinstance(found, Outcome)
    return found


def test_a_failed_attempt_is_retried_until_none_is_left() -> None:
    """The contract's bound comes before its policy."""
    job_class, function = failing_job(max_attempts=3, retry=Deciding(Retry(7.0)))
    states = [outcome_of(function, job_class(), attempts=used) for used in (0, 1, 2)]
    assert [(it.state, it.reason, it.delay_seconds) for it in states] == [
        (State.RETRYABLE, None, 7.0),
        (State.RETRYABLE, None, 7.0),
        (State.DEAD, Reason.ATTEMPTS, 0.0),
    ]


def test_a_policy_may_bury_with_a_reason_of_its_own() -> None:
    """What the job's author says stands in the row."""
    job_class, function = failing_job(retry=Deciding(Bury("card_expired")))
    outcome = outcome_of(function, job_class())
    assert (outcome.state, outcome.reason) == (State.DEAD, "card_expired")


@pytest.mark.parametrize(
    "nonsense",
    [
        KeyError("policy"),
        SystemExit(1),
        None,
        "soon",
        Retry(math.nan),
        Retry(math.inf),
        Retry(-1.0),
        Retry(timedelta(seconds=5)),  # type: ignore[arg-type]
        Bury(None),  # type: ignore[arg-type]
    ],
    ids=repr,
)
def test_a_policy_that_gives_no_decision_is_replaced_by_the_default_one(nonsense: Any) -> None:
    """It runs in worker threads and in the supervisor; neither may die of it."""
    job_class, function = failing_job(retry=Deciding(nonsense))
    with capture_logs() as logs:
        outcome = outcome_of(function, job_class())
    assert outcome.state is State.RETRYABLE
    assert 0 <= outcome.delay_seconds <= 2.0
    [said] = [line for line in logs if line["event"] == "a retry policy gave no decision; the default one decides"]
    assert (said["job_id"], said["job_type"]) == (outcome.job_id, "test.fails")


@pytest.mark.parametrize(
    ("step", "definite"), [("", ()), (5, ()), (None, ()), ("a\x00b", ()), ("x" * 201, ()), ("send", [KeyError])]
)
def test_an_effect_without_a_proper_name_is_refused_before_it_happens(step: Any, definite: Any) -> None:
    """The database would refuse it later, or differently from another one."""
    happened = []

    class Sends(Job, type="test.sends", queue="test", max_attempts=1):
        pass

    @handler(Sends)
    def send(job: Sends, ctx: Context) -> None:
        with ctx.effect(step, definite=definite):
            happened.append(step)

    outcome = outcome_of(send, Sends())
    assert outcome.failure is not None
    assert (outcome.failure.error_class, happened) == ("ValueError", [])
    assert "ctx.effect(" in outcome.failure.message


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda ctx: ctx.snooze("5"), "snooze takes between 0 seconds and a year, as a number, not '5'"),
        (lambda ctx: ctx.snooze(timedelta(seconds=5)), "as a number, not datetime.timedelta"),
        (lambda ctx: setattr(ctx, "result", object()), "ctx.result takes what JSON can hold, and no object"),
        (lambda ctx: setattr(ctx, "result", "\ud800"), "ctx.result takes what JSON can hold, and no str"),
    ],
)
def test_what_a_context_cannot_take_is_refused_with_what_it_can(wrong: Any, said: str) -> None:
    """By the name of the member, not as an error from deep inside."""

    class Errs(Job, type="test.errs", queue="test", max_attempts=1):
        pass

    @handler(Errs)
    def err(job: Errs, ctx: Context) -> None:
        wrong(ctx)

    outcome = outcome_of(err, Errs())
    assert outcome.failure is not None
    assert outcome.failure.error_class == "ValueError"
    assert said in outcome.failure.message


def test_a_delay_is_a_year_at_most() -> None:
    """No database can add more to its clock than it can hold."""
    job_class, function = failing_job(retry=Deciding(Retry(1e300)))
    assert outcome_of(function, job_class()).delay_seconds == 366 * 86400


@pytest.mark.parametrize("kind", [*jobs.KINDS, "recursion", "group"])
def test_no_exception_of_a_handler_leaves_the_executor(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is, the job gets an outcome and the thread goes on."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "sink"))
    outcome = outcome_of(jobs.fail, jobs.Failing(kind=kind), attempts=0)
    buried = {"expected": Reason.PERMANENT, "permanent": Reason.PERMANENT, "unknown outcome": Reason.OUTCOME_UNKNOWN}
    assert outcome.reason == buried.get(kind)
    assert outcome.state is (State.DEAD if kind in buried else State.RETRYABLE)
    assert outcome.counts
    assert outcome.failure is not None
    assert outcome.failure.kind == ("timeout" if kind == "timeout" else "failed")


def test_a_payload_that_does_not_fit_its_contract_is_dead_without_an_attempt() -> None:
    """No retry can mend it; the text names the field."""
    outcome = executor().execute(a_claim(payload=b'{"name":7}'), an_entry(jobs.take_note))
    assert isinstance(outcome, Outcome)
    assert (outcome.state, outcome.reason, outcome.counts) == (State.DEAD, Reason.INVALID_PAYLOAD, False)
    assert outcome.failure is not None
    assert "field 'name'" in outcome.failure.message


def test_a_validator_that_fails_in_a_way_of_its_own_is_a_failed_attempt() -> None:
    """pydantic passes everything on that is neither ValueError nor AssertionError."""

    class Validated(Job, type="test.validated", queue="test"):
        name: str

        @field_validator("name")
        @classmethod
        def look(cls, value: str) -> str:
            return {"x": "known"}[value]

    @handler(Validated)
    def take(job: Validated, ctx: Context) -> None:
        raise AssertionError("never reached")

    claim = a_claim(type="test.validated", payload=b'{"name":"unknown"}')
    outcome = executor().execute(claim, an_entry(take))
    assert isinstance(outcome, Outcome)
    assert (outcome.state, outcome.failure and outcome.failure.error_class) == (State.RETRYABLE, "KeyError")


def test_the_text_of_a_validator_is_not_kept() -> None:
    """The author of a validator may put the value into its message."""

    class Card(Job, type="test.card", queue="test"):
        number: str

        @field_validator("number")
        @classmethod
        def look(cls, value: str) -> str:
            raise ValueError(f"{value} is no card")

    @handler(Card)
    def take(job: Card, ctx: Context) -> None:
        """Never reached."""

    outcome = executor().execute(a_claim(type="test.card", payload=b'{"number":"4111-1111"}'), an_entry(take))
    assert isinstance(outcome, Outcome)
    assert outcome.failure is not None
    assert "4111-1111" not in outcome.failure.message
    assert "field 'number'" in outcome.failure.message


def test_a_mistake_of_the_engine_is_trouble_and_not_an_attempt() -> None:
    """A contract that was spoiled after it had been checked fails only when it is asked."""
    job_class, function = failing_job()
    object.__setattr__(job_class.contract(), "permanent", ("ValueError",))
    with capture_logs() as logs:
        outcome = outcome_of(function, job_class())
    assert (outcome.state, outcome.counts, outcome.trouble) == (State.AVAILABLE, False, True)
    assert [line["error_class"] for line in logs if line["log_level"] == "error"] == ["TypeError"]


def test_an_at_most_once_job_is_never_retried() -> None:
    """Whatever its policy says."""
    job_class, function = failing_job(guarantee="at_most_once", retry=Deciding(Retry(0.0)))
    assert outcome_of(function, job_class()).state is State.DEAD


def test_the_bound_holds_for_timeouts_that_the_supervisor_settles() -> None:
    """`decide_retry` is what both use."""
    job_class, function = failing_job(max_attempts=1)
    outcome = decide_retry(a_claim(job_class()), an_entry(function), TimeoutError(), Failure("timeout"))
    assert (outcome.state, outcome.reason) == (State.DEAD, Reason.ATTEMPTS)


def test_permanent_says_that_no_retry_helps() -> None:
    """Raised by the handler itself."""

    class Gives(Job, type="test.gives", queue="test"):
        pass

    @handler(Gives)
    def gives(job: Gives, ctx: Context) -> None:
        raise Permanent("no such customer")

    assert outcome_of(gives, Gives()).reason is Reason.PERMANENT
