"""Actors as somebody wrote them for Dramatiq, with no broker of their own and no word of us."""

import functools
import select
from collections.abc import Callable
from typing import Any

import dramatiq
from dramatiq.errors import Retry
from tests.workers.sink import note


@dramatiq.actor(queue_name="actors")
def add(a: int, b: int = 1) -> int:
    note("ran", job="add", result=a + b)
    return a + b


@dramatiq.actor(queue_name="actors")
async def add_async(a: int) -> None:
    note("ran", job="add_async", result=a)


def counted(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator of somebody's own around a coroutine."""

    @functools.wraps(function)
    async def wrapper(*args: Any) -> None:
        note("decorated", job="decorated")
        await function(*args)

    return wrapper


@dramatiq.actor(queue_name="actors")
@counted
async def decorated(a: int) -> None:
    note("ran", job="decorated", result=a)


@dramatiq.actor(queue_name="actors", max_retries=2, min_backoff=1, max_backoff=1)
def flaky(name: str) -> None:
    note("started", job=name)
    raise ValueError(name)


@dramatiq.actor(queue_name="actors", throws=ZeroDivisionError, min_backoff=1)
def divide(name: str) -> None:
    note("started", job=name)
    raise ZeroDivisionError


@dramatiq.actor(queue_name="actors", retry_when=lambda retries, error: retries < 1, min_backoff=1, max_backoff=1)
def choosy(name: str) -> None:
    note("started", job=name)
    raise ValueError(name)


@dramatiq.actor(queue_name="actors", max_retries=1)
def patient(name: str) -> None:
    note("started", job=name)
    raise Retry("later", delay=1)


@dramatiq.actor(queue_name="actors", time_limit=500, max_retries=0)
def slow(name: str) -> None:
    note("started", job=name)
    select.select([], [], [], 60)


@dramatiq.actor(queue_name="actors", time_limit=float("inf"), max_retries=None)
def unlimited() -> None:
    """With every bound taken off."""
