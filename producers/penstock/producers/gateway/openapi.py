"""The OpenAPI document: what FastAPI knows of the routes, and the models that it does not see."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from penstock.producers.gateway.documents import BatchSubmission, ProblemDocument
from penstock.producers.gateway.submission import Submission

REFERENCE = "#/components/schemas/{model}"


def openapi(app: FastAPI) -> dict[str, Any]:
    """The document, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            openapi_version=app.openapi_version,
            description=app.description,
            routes=app.routes,
        )
        _, unseen = models_json_schema(
            [(model, "validation") for model in (Submission, BatchSubmission, ProblemDocument)], ref_template=REFERENCE
        )
        document.setdefault("components", {}).setdefault("schemas", {}).update(unseen["$defs"])
        document["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, or a JSON Web Token."}
        }
        document["security"] = [{"bearer": []}]
        app.openapi_schema = document
    return app.openapi_schema


def reference(model: type) -> dict[str, str]:
    """A schema that points at a model's."""
    return {"$ref": REFERENCE.format(model=model.__name__)}
