"""The JSON Schema of a payload, for publishers in other languages and for the comparison with the next release."""

import re
from collections.abc import Iterable
from typing import Any

from penstock.schemas.job import Job
from penstock.schemas.upcasting import older_versions

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NAME = re.compile(r"(?P<type>.+)\.v(?P<version>[0-9]+)\.json")


def schema_name(job_type: str, version: int) -> str:
    """The name of the file, like `orders.ship.v2.json`."""
    return f"{job_type}.v{version}.json"


def parse_schema_name(name: str) -> tuple[str, int] | None:
    """The type and version that a file is of; None if its name is not one of ours."""
    match = _NAME.fullmatch(name)
    return None if match is None else (match["type"], int(match["version"]))


def payload_schema(job_class: type[Job], *, ref_template: str = "#/$defs/{model}") -> dict[str, Any]:
    """JSON Schema (2020-12) of what the wire carries for this class, with its contract under `x-penstock`."""
    contract = job_class.contract()
    schema = job_class.model_json_schema(ref_template=ref_template)
    known = {
        "type": contract.type,
        "version": contract.version,
        "queue": contract.queue,
        "aliases": list(contract.aliases),
        "upcasts_from": list(older_versions(job_class)),
    }
    return {"$schema": DIALECT, **schema, "x-penstock": known}


def payload_schemas(job_classes: Iterable[type[Job]]) -> dict[str, dict[str, Any]]:
    """The schemas by the name of their file."""
    schemas = {}
    for job_class in job_classes:
        contract = job_class.contract()
        schemas[schema_name(contract.type, contract.version)] = payload_schema(job_class)
    return dict(sorted(schemas.items()))


def clear_schema(schema: Any) -> Any:
    """The same as it is before anything is sealed, for a way in that seals by itself."""
    if isinstance(schema, list):
        return [clear_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "x-sealed" in schema:
        said = {key: value for key, value in schema.items() if key not in ("type", "pattern", "x-sealed")}
        return clear_schema(schema["x-sealed"]) | said | {"writeOnly": True}
    return {key: clear_schema(value) for key, value in schema.items()}
