"""The OpenAPI document: what FastAPI knows of the routes, and the submissions as the contracts have them."""

import json
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from penstock.producers.gateway.catalogue import Catalogue, KnownType
from penstock.producers.gateway.documents import BatchSubmission, ProblemDocument
from penstock.producers.gateway.submission import Submission

REFERENCE = "#/components/schemas/{model}"


def openapi(app: FastAPI, catalogue: Catalogue, *, asks_credentials: bool) -> dict[str, Any]:
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
        components = document.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        schemas.update(unseen["$defs"])
        schemas.update(_submissions(schemas["Submission"], catalogue))
        if asks_credentials:
            bearer = {"type": "http", "scheme": "bearer", "description": "An API key, or a JSON Web Token."}
            components["securitySchemes"] = {"bearer": bearer}
            document["security"] = [{"bearer": []}]
        app.openapi_schema = document
    return app.openapi_schema


def reference(model: type) -> dict[str, str]:
    """A schema that points at a model's."""
    return {"$ref": REFERENCE.format(model=model.__name__)}


def _submissions(plain: dict[str, Any], catalogue: Catalogue) -> dict[str, Any]:
    """One schema for each version of each type, and `Submission` as any of them."""
    found: dict[str, Any] = {}
    for name in catalogue:
        versions = catalogue.versions(name)
        for number, known in versions.items():
            found |= _submission(plain, known, is_newest=number == max(versions))
    some = [{"$ref": REFERENCE.format(model=name)} for name in found if name.startswith("Submission.")]
    return found | {"Submission": {"title": "Submission", "description": plain["description"], "anyOf": some}}


def _submission(plain: dict[str, Any], known: KnownType, *, is_newest: bool) -> dict[str, Any]:
    contract = known.contract
    name = f"{contract.type}.v{contract.version}"
    # What a payload's schema defines for itself becomes a component, under a name of its own.
    own = json.loads(json.dumps(dict(known.schema)).replace('"#/$defs/', f'"{REFERENCE.format(model=f"{name}.")}'))
    parts = {f"{name}.{part}": schema for part, schema in own.pop("$defs", {}).items()}
    version = {"type": ["integer", "null"], "enum": [contract.version, None]}
    properties = {
        **plain["properties"],
        "type": {"type": "string", "const": contract.type},
        "version": version if is_newest else {"type": "integer", "const": contract.version},
        "payload": {"type": "object", **own},
    }
    required = ["type", "payload"] if is_newest else ["type", "version", "payload"]
    return {**parts, f"Submission.{name}": {**plain, "title": name, "properties": properties, "required": required}}
