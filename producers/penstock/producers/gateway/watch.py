"""Waiting for jobs to move on: one question a moment to the ledger, for all who wait together."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.requests import Request

from penstock.ledger.jobs import Standing, standings
from penstock.producers.gateway.problems import busy
from penstock.producers.gateway.questions import Questions

PLACES_MAX = 500
INTERVAL_SECONDS = 0.25
ENDED = ("completed", "dead", "cancelled")


class Watched:
    """One place in the watch: a job, and how it was when it was last looked at."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.standing: Standing | None = None
        self.moved = asyncio.Event()

    def see(self, standing: Standing | None) -> None:
        if standing is not None and standing != self.standing:
            self.standing = standing
            self.moved.set()

    @property
    def has_ended(self) -> bool:
        return self.standing is not None and self.standing.state in ENDED


class Watch:
    """At most so many places at once: each is an open connection."""

    def __init__(self, questions: Questions, *, places_max: int = PLACES_MAX, log: Any) -> None:
        self.stopping = asyncio.Event()
        self._questions = questions
        self._places_max = places_max
        self._log = log
        self._places: set[Watched] = set()
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def over(self, job_id: str) -> Iterator[Watched]:
        """A place in the watch; raises `Problem` when all are taken."""
        if len(self._places) >= self._places_max:
            raise busy("too many requests wait for jobs; ask without waiting")
        watched = Watched(job_id)
        self._places.add(watched)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look_around(), name="watch")
        try:
            yield watched
        finally:
            self._places.discard(watched)

    async def until_ended(self, job_id: str, *, seconds: float, request: Request) -> None:
        """Returns when the job has ended, the time is over, the gateway stops, or whoever asks has gone."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        gone = asyncio.ensure_future(_hang_up(request))
        try:
            with self.over(job_id) as watched:
                while not watched.has_ended and await self.moved(watched, gone, seconds=deadline - loop.time()):
                    pass
        finally:
            gone.cancel()

    async def moved(self, watched: Watched, *others: asyncio.Future[None], seconds: float) -> bool:
        """Whether the job has moved on within this time; False when the gateway stops or one of `others` is done."""
        waits = [asyncio.ensure_future(event.wait()) for event in (watched.moved, self.stopping)]
        try:
            futures: list[asyncio.Future[Any]] = [*waits, *others]
            await asyncio.wait(futures, timeout=max(seconds, 0), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for it in waits:
                it.cancel()
        moved = watched.moved.is_set() and not self.stopping.is_set() and not any(it.done() for it in others)
        watched.moved.clear()
        return moved

    def stop(self) -> None:
        """Everybody who waits is answered with how things are."""
        self.stopping.set()

    async def _look_around(self) -> None:
        while self._places and not self.stopping.is_set():
            ids = sorted({it.job_id for it in self._places})
            try:
                found = await self._questions.ask(lambda session, ids=ids: standings(session, ids))  # type: ignore[misc]
            except Exception as error:
                self._log.warning("the watch sees nothing", error=type(error).__name__)
                found = {}
            for watched in self._places:
                watched.see(found.get(watched.job_id))
            await asyncio.sleep(INTERVAL_SECONDS)


async def _hang_up(request: Request) -> None:
    """Returns when the client has closed the connection; the body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
