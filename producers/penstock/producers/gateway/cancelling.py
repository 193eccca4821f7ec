"""`POST /v1/jobs/{id}/cancel`."""

from starlette.requests import Request
from starlette.responses import Response

from penstock.ledger.database import Session
from penstock.ledger.jobs import cancel_job, show_job
from penstock.producers.gateway.answers import answer
from penstock.producers.gateway.caller import Caller
from penstock.producers.gateway.gateway import Gateway
from penstock.producers.gateway.problems import Problem
from penstock.producers.gateway.showing import JobId, Showing, read_id, unseen


class Cancelling:
    """Jobs are called off."""

    def __init__(self, gateway: Gateway, showing: Showing) -> None:
        self._gateway = gateway
        self._showing = showing

    async def cancel(self, request: Request, job_id: JobId) -> Response:
        """Cancel a job: at once if it waits; one that runs is asked, and cancelled when it ends without success."""
        caller = await self._gateway.guard.caller_of(request)
        own_id = read_id(job_id)
        first, outcome = await self._showing.asked(lambda session: _cancel(session, own_id, caller))
        if outcome not in ("cancelled", "requested"):
            detail = f"the job is {outcome} already: there is nothing to cancel"
            raise Problem(409, "ended", "The job has ended", detail, more={"job_id": first})
        return answer({"id": first, "outcome": outcome})


def _cancel(session: Session, job_id: str, caller: Caller) -> tuple[str, str]:
    """The first job's id and what became of it. Only what the ledger knows: anybody can make up an id."""
    job = show_job(session, job_id)
    if job is None or not caller.sees(job["tenant"]) or not caller.may("cancel", job["type"]):
        raise unseen()
    first = str(job["id"])
    return first, cancel_job(session, first, actor=caller.name)
