"""The application: routes, and what is answered when something is wrong."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp

from penstock.producers.gateway.catalogue import Catalogue
from penstock.producers.gateway.frame import Frame
from penstock.producers.gateway.gateway import Gateway
from penstock.producers.gateway.job_routes import add_job_routes
from penstock.producers.gateway.openapi import openapi
from penstock.producers.gateway.problems import Problem, invalid
from penstock.producers.gateway.settings import GatewaySettings
from penstock.producers.gateway.status_routes import add_health_routes, add_metrics_route
from penstock.schemas.version import __version__

DESCRIPTION = "Jobs over HTTP: a receipt is given when the job is durable, and says where."


def build(gateway: Gateway, *, with_metrics: bool) -> ASGIApp:
    """The ASGI application over a gateway; it starts and closes the gateway."""
    app = routes(gateway)
    if with_metrics:
        add_metrics_route(app, gateway.metrics)
    return Frame(app, metrics=gateway.metrics, log=gateway.log)


def routes(gateway: Gateway) -> FastAPI:
    """The application without its frame; it can write its OpenAPI document."""

    @asynccontextmanager
    async def living(_: FastAPI) -> AsyncIterator[None]:
        await gateway.start()
        yield
        await gateway.close()

    app = FastAPI(
        title="Penstock gateway",
        version=__version__,
        description=DESCRIPTION,
        lifespan=living,
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    add_job_routes(app, gateway)
    add_health_routes(app, gateway.health)
    app.openapi = lambda: openapi(app, gateway.catalogue, asks_credentials=gateway.guard.asks_credentials)  # type: ignore[method-assign]
    return app


def document_of(catalogue: Catalogue) -> dict[str, Any]:
    """The OpenAPI document of a gateway with these types, without a gateway that runs."""
    gateway = Gateway(GatewaySettings(), catalogue, asks_credentials=True, log=structlog.get_logger())
    return routes(gateway).openapi()


def _with_id(problem: Problem, request: Request) -> Response:
    problem.document["request_id"] = request.scope["state"]["request_id"]
    request.scope["state"]["problem"] = problem.code
    return problem.response()


def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return _with_id(error, request)


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _with_id(invalid([(str(item["loc"][-1]), item["msg"]) for item in error.errors()]), request)


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_methods_at(request))
    remedies: Mapping[int, str] = {
        404: "there is nothing at this path; GET /v1/openapi.json has those that there are",
        405: f"this path knows {headers.get('Allow')}",
    }
    title = HTTPStatus(error.status_code).phrase
    detail = remedies.get(error.status_code, title)
    problem = Problem(error.status_code, title.lower().replace(" ", "-"), title, detail, headers=headers)
    return _with_id(problem, request)


def _methods_at(request: Request) -> list[str]:
    """All methods that routes have at this path; each route knows only its own."""
    routes = [it for it in request.app.routes if it.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for it in routes for method in it.methods or ()})
