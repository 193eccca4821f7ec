"""The routes under `/v1`, with what the OpenAPI document says about each."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.routing import Match, Route
from starlette.types import Scope

from penstock.producers.gateway.cancelling import Cancelling
from penstock.producers.gateway.documents import (
    BatchDocument,
    BatchSubmission,
    Cancellation,
    JobList,
    ProblemDocument,
    ReceiptDocument,
    TypeDocument,
    TypeList,
    WholeJob,
)
from penstock.producers.gateway.events import Events
from penstock.producers.gateway.gateway import Gateway
from penstock.producers.gateway.kinds import Kinds
from penstock.producers.gateway.listing import Listing
from penstock.producers.gateway.openapi import reference
from penstock.producers.gateway.problems import MEDIA_TYPE
from penstock.producers.gateway.showing import Showing, Wait
from penstock.producers.gateway.submission import Submission
from penstock.producers.gateway.submitting import Submitting
from penstock.schemas.message import KEY_LENGTH_MAX

ALWAYS = (401, 403, 422, 429, 503)
BODY = (400, 408, 413, 415)

KEY_PARAMETER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The dedup key: a repeat with the same payload gets the first receipt, another payload is refused.",
    "schema": {"type": "string", "pattern": "^[!-~]([ -~]*[!-~])?$", "maxLength": KEY_LENGTH_MAX},
}
WAIT_PARAMETER = {
    "name": "wait",
    "in": "query",
    "required": False,
    "description": Wait.text,
    "schema": {"type": "string", "pattern": Wait.pattern},
}


def add_job_routes(app: FastAPI, gateway: Gateway) -> None:
    """Everything about jobs and types."""
    showing = Showing(gateway)
    submitting = Submitting(gateway, showing)
    _describe(
        app,
        "POST /v1/jobs",
        submitting.submit,
        answers=_answers(ReceiptDocument, *ALWAYS, *BODY, 409, status=202),
        body=Submission,
        parameters=[KEY_PARAMETER, WAIT_PARAMETER],
    )
    # FastAPI's own way to a route costs as much as all that is done there; here it only describes it.
    app.router.routes.insert(0, _PlainRoute("/v1/jobs", submitting.submit, methods=["POST"]))
    batch = _answers(BatchDocument, *ALWAYS, *BODY)
    _describe(app, "POST /v1/jobs:batch", submitting.submit_batch, answers=batch, body=BatchSubmission)
    _describe(app, "GET /v1/jobs", Listing(gateway, showing).page, answers=_answers(JobList, *ALWAYS))
    _describe(app, "GET /v1/jobs/{job_id}", showing.show, answers=_answers(WholeJob, *ALWAYS, 404))
    cancelled = _answers(Cancellation, *ALWAYS, 404, 409)
    _describe(app, "POST /v1/jobs/{job_id}/cancel", Cancelling(gateway, showing).cancel, answers=cancelled)
    _describe(app, "GET /v1/jobs/{job_id}/events", Events(gateway, showing).follow, answers=_stream(*ALWAYS, 404))
    kinds = Kinds(gateway)
    _describe(app, "GET /v1/types", kinds.all, answers=_answers(TypeList, *ALWAYS))
    _describe(app, "GET /v1/types/{type}", kinds.one, answers=_answers(TypeDocument, *ALWAYS, 404))


class _PlainRoute(Route):
    """Starlette's, that says like FastAPI's which one it is."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, more = super().matches(scope)
        return match, {**more, "route": self}


def _describe(
    app: FastAPI,
    route: str,
    endpoint: Any,
    *,
    answers: dict[int | str, dict[str, Any]],
    body: type[BaseModel] | None = None,
    parameters: Iterable[Any] = (),
) -> None:
    """Add a route. Bodies are read by hand, within limits, so FastAPI has to be told of them."""
    method, path = route.split()
    extra: dict[str, Any] = {"parameters": list(parameters)} if parameters else {}
    if body is not None:
        content = {"application/json": {"schema": reference(body)}}
        extra["requestBody"] = {"required": True, "content": content}
    app.add_api_route(
        path,
        endpoint,
        methods=[method],
        status_code=next(int(status) for status in answers),
        response_model=None,
        responses=answers,
        openapi_extra=extra or None,
        operation_id=endpoint.__name__,
    )


def _answers(model: type[BaseModel], *problems: int, status: int = 200) -> dict[int | str, dict[str, Any]]:
    """What a route may answer; the first is what it answers when all is well."""
    return {status: {"model": model, "description": HTTPStatus(status).phrase}} | _problems(problems)


def _stream(*problems: int) -> dict[int | str, dict[str, Any]]:
    content = {"text/event-stream": {"schema": {"type": "string"}}}
    return {200: {"description": "Server-sent events", "content": content}} | _problems(problems)


def _problems(statuses: Iterable[int]) -> dict[int | str, dict[str, Any]]:
    content = {MEDIA_TYPE: {"schema": reference(ProblemDocument)}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}
