"""Dramatiq's middleware around a handler."""

from typing import Any

import pytest
from dramatiq.middleware import CurrentMessage, Middleware, SkipMessage
from tests.workers.samples import a_claim, an_entry, capture_logs, executor

from penstock.ledger.settlement import Outcome
from penstock.ledger.state import State
from penstock.schemas import Job
from penstock.workers import Context, PenstockBroker, handler
from penstock.workers.hooks import Hooks

SECRET = "4111-1111-1111-1111"


class Hooked(Job, type="test.hooked", queue="test"):
    """Fails if it is told to."""

    fails: bool = False
    card: str = SECRET


class Recording(Middleware):
    """Notes what it sees; raises what it is given at the hook of its choice."""

    def __init__(self, name: str, seen: list[Any], *, at: str = "", error: BaseException | None = None) -> None:
        self.name, self.seen, self.at, self.error = name, seen, at, error

    def before_process_message(self, broker: Any, message: Any) -> None:
        self.note("before", message)

    def after_process_message(self, broker: Any, message: Any, *, result: Any = None, exception: Any = None) -> None:
        self.note("after", message, type(exception).__name__)

    def after_skip_message(self, broker: Any, message: Any) -> None:
        self.note("skip", message)

    def note(self, hook: str, message: Any, *more: str) -> None:
        self.seen.append((self.name, hook, *more))
        if self.at == hook and self.error is not None:
            raise self.error


def run(*middleware: Middleware, fails: bool = False) -> tuple[Outcome, list[str]]:
    """Execute one job with these around it; its outcome, and what the handler did."""
    called: list[str] = []

    @handler(Hooked)
    def work(job: Hooked, ctx: Context) -> None:
        message = CurrentMessage.get_current_message()
        called.append(ctx.job_id if message is None else message.message_id)
        if job.fails:
            raise ValueError(job.card)

    broker = PenstockBroker(middleware=list(middleware))
    entry = an_entry(work, broker=broker)
    claim = a_claim(Hooked(fails=fails))
    outcome = executor(hooks=Hooks.of(broker)).execute(claim, entry)
    assert isinstance(outcome, Outcome)
    assert called in ([], [claim.id])
    return outcome, called


def test_nobody_who_looks_costs_nothing() -> None:
    """Middleware that overrides no hook around messages is not called."""

    class Boots(Middleware):
        def before_worker_boot(self, broker: Any, worker: Any) -> None:
            """Something else."""

    assert Hooks.of(PenstockBroker(middleware=[Boots()])) is None
    assert Hooks.of(PenstockBroker(middleware=[Recording("a", [])])) is not None


@pytest.mark.parametrize(("fails", "seen_last"), [(False, "NoneType"), (True, "ValueError")])
def test_hooks_surround_the_handler_like_an_onion(fails: bool, seen_last: str) -> None:
    """The first one in is the last one out, and learns how it went."""
    seen: list[Any] = []
    outcome, _ = run(Recording("a", seen), Recording("b", seen), fails=fails)
    assert seen == [("a", "before"), ("b", "before"), ("b", "after", seen_last), ("a", "after", seen_last)]
    assert outcome.state is (State.RETRYABLE if fails else State.COMPLETED)


@pytest.mark.parametrize("hook", ["before", "after"])
def test_a_hook_that_fails_changes_no_outcome_and_tells_no_secret(hook: str) -> None:
    """It is logged by its class; its text may hold what was in the payload."""
    seen: list[Any] = []
    with capture_logs() as logs:
        outcome, called = run(Recording("a", seen, at=hook, error=ValueError(SECRET)), Recording("b", seen))
    assert (outcome.state, len(called)) == (State.COMPLETED, 1)
    assert [name for name, *_ in seen] == ["a", "b", "b", "a"]
    [line] = [line for line in logs if line["event"] == "a middleware failed"]
    assert line["error_class"] == "ValueError"
    assert SECRET not in str(logs)


def test_a_middleware_can_skip_a_job() -> None:
    """The handler is not called, and the job is cancelled, not retried."""
    seen: list[Any] = []
    outcome, called = run(Recording("a", seen), Recording("b", seen, at="before", error=SkipMessage()))
    assert (outcome.state, called) == (State.CANCELLED, [])
    assert seen[-2:] == [("b", "skip"), ("a", "skip")]


def test_the_current_message_is_there_while_the_handler_runs() -> None:
    """With the job's id, and gone afterwards."""
    _, called = run(CurrentMessage())
    assert len(called) == 1
    assert CurrentMessage.get_current_message() is None
