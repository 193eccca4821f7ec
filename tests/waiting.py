"""Waiting in tests: on a condition, never for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")

# Long enough for a machine that has others to serve: who waits in vain has failed anyway.
PATIENCE_SECONDS = 30.0
INTERVAL_SECONDS_FIRST = 0.002
INTERVAL_SECONDS_MAX = 0.1


def until(
    condition: Callable[[], Answer], *, timeout_seconds: float = PATIENCE_SECONDS, what: str = "the condition"
) -> Answer:
    """Ask `condition` until its answer is truthy, and return that answer.

    Raises AssertionError, naming `what` and the last answer, once `timeout_seconds` have passed. An error that the
    condition raises is the test's own and passes through.
    """
    deadline = time.monotonic() + timeout_seconds
    interval_seconds = INTERVAL_SECONDS_FIRST
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise AssertionError(f"waited {timeout_seconds:g} s in vain for {what}; last answer: {answer!r}")
        time.sleep(interval_seconds)
        interval_seconds = min(interval_seconds * 1.5, INTERVAL_SECONDS_MAX)
