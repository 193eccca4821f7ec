"""`/healthz`, `/readyz`, `/metrics` beside the jobs, for load balancers and a first look."""

from fastapi import FastAPI
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from penstock.producers.gateway.health import Health
from penstock.producers.gateway.metrics import GatewayMetrics


def add_health_routes(app: FastAPI, health: Health) -> None:
    """They stay out of the OpenAPI document, as do the metrics."""

    async def judged(request: Request) -> Response:
        good, said = health.judge(request.url.path)
        return PlainTextResponse(f"{said}\n", status_code=200 if good else 503)

    for path in ("/healthz", "/readyz"):
        app.add_api_route(path, judged, methods=["GET", "HEAD"], include_in_schema=False, response_model=None)


def add_metrics_route(app: FastAPI, metrics: GatewayMetrics) -> None:
    """For where they have no port of their own."""

    async def scraped(_: Request) -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    app.add_api_route("/metrics", scraped, include_in_schema=False, response_model=None)
