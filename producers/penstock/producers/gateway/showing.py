"""`GET /v1/jobs/{id}`, with `?wait=10s`."""

import re
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import Path, Query
from sqlalchemy.exc import DBAPIError
from starlette.requests import Request
from starlette.responses import Response

from penstock.ledger.database import LedgerUnavailable, Session
from penstock.producers.gateway.answers import answer
from penstock.producers.gateway.caller import Caller
from penstock.producers.gateway.gateway import Gateway
from penstock.producers.gateway.job_documents import Surroundings, find_job, whole_job
from penstock.producers.gateway.problems import Problem, busy, invalid, not_found, unavailable
from penstock.producers.gateway.questions import TooBusy
from penstock.schemas import UnreadableMessage
from penstock.schemas.identifiers import parse_job_id

T = TypeVar("T")
WAIT_SECONDS_MAX = 30.0
JobId = Annotated[str, Path(description="The job's id, or that of a duplicate.", json_schema_extra={"format": "uuid"})]


class Wait:
    """How long to wait for the end of a job."""

    pattern = r"^([12]?[0-9](\.[0-9]{1,3})?|30)s?$"
    text = f"Answer when the job has ended, or after so many seconds, at most {WAIT_SECONDS_MAX:g}: 10s"


def seconds_of(wait: str | None) -> float:
    """Raises `Problem`."""
    if wait is None:
        return 0.0
    if not re.fullmatch(Wait.pattern, wait):
        raise invalid([("wait", f"must be seconds, at most {WAIT_SECONDS_MAX:g}, like 10s")])
    return float(wait.removesuffix("s"))


class Showing:
    """Jobs as they are."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def show(
        self,
        request: Request,
        job_id: JobId,
        wait: Annotated[str | None, Query(pattern=Wait.pattern, description=Wait.text)] = None,
    ) -> Response:
        """How a job is: its state, its attempts, its result, and why it waits."""
        seconds = seconds_of(wait)
        caller = await self._gateway.guard.caller_of(request)
        own_id = read_id(job_id)
        document = await self.find(own_id, caller)
        if seconds and document["finished_at"] is None:
            await self._gateway.watch.until_ended(document["id"], seconds=seconds, request=request)
            document = await self.find(own_id, caller)
        return answer(document)

    async def find(self, job_id: str, caller: Caller) -> dict[str, Any]:
        """The whole job; raises `Problem`."""

        def look(session: Session) -> dict[str, Any] | None:
            job = find_job(session, job_id, caller)
            return None if job is None else whole_job(job, caller, self.around(session))

        document = await self.asked(look)
        if document is None:
            raise unseen()
        return document

    async def after_receipt(self, job_id: str, caller: Caller) -> dict[str, Any] | None:
        """The job as it is now, if that can be told: the receipt stands in any case."""
        try:
            return await self.find(job_id, caller)
        except Problem:
            return None

    async def asked(self, question: Callable[[Session], T]) -> T:
        """The ledger's answer; raises `Problem` where there is none."""
        try:
            return await self._gateway.questions.ask(question)
        except TooBusy:
            raise busy("too many questions wait for the ledger") from None
        except (LedgerUnavailable, DBAPIError):
            raise unavailable("the ledger cannot be reached, or takes too long; ask again, or for less") from None

    def around(self, session: Session) -> Surroundings:
        return Surroundings.look(session, broker=self._gateway.settings.has_broker)


def read_id(text: str) -> str:
    """A job id from a path; raises `Problem`."""
    try:
        return parse_job_id(text)
    except UnreadableMessage:
        raise not_found("this is no job id; they are UUIDv7, as receipts have them") from None


def unseen() -> Problem:
    return not_found(
        "no job of this id is in the ledger, or not for these credentials; one that was published to RabbitMQ "
        "comes into the ledger when a worker claims it"
    )
