"""`GET /v1/jobs`: filters, and pages from the newest to the oldest."""

from typing import Annotated, Any

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from penstock.ledger.database import Session
from penstock.ledger.jobs import list_jobs
from penstock.producers.gateway.answers import answer
from penstock.producers.gateway.documents import StateName
from penstock.producers.gateway.gateway import Gateway
from penstock.producers.gateway.job_documents import job_document
from penstock.producers.gateway.showing import Showing
from penstock.producers.gateway.submission import NAME
from penstock.schemas.contract import NAME_LENGTH_MAX

PAGE_JOBS_MAX = 200
# The id of the last job; nobody needs to know that.
CURSOR = "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$"

Name = Annotated[str | None, Query(pattern=NAME, max_length=NAME_LENGTH_MAX)]


class Listing:
    """Jobs page by page; a cursor stays good whatever happens in between."""

    def __init__(self, gateway: Gateway, showing: Showing) -> None:
        self._gateway = gateway
        self._showing = showing

    async def page(
        self,
        request: Request,
        *,
        state: StateName | None = None,
        type: Name = None,  # noqa: A002 - the field's word
        queue: Name = None,
        cursor: Annotated[str | None, Query(description="`next_cursor` of the page before.", pattern=CURSOR)] = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_JOBS_MAX)] = 50,
    ) -> Response:
        """List jobs, the newest first, without their payloads."""
        caller = await self._gateway.guard.caller_of(request)
        if type is not None:
            caller.require("read", type)

        def look(session: Session) -> list[dict[str, Any]]:
            found = list_jobs(
                session,
                state=state,
                type=type,
                queue=queue,
                tenant=caller.tenant,
                type_globs=caller.globs("read"),
                before=cursor,
                limit=limit + 1,
            )
            around = self._showing.around(session)
            return [job_document(job, caller, around) for job in found]

        found = await self._showing.asked(look)
        jobs = found[:limit]
        return answer({"jobs": jobs, "next_cursor": jobs[-1]["id"] if len(found) > limit else None})
