"""The documents that describe the contracts, written into a folder."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from penstock.console.modules import loaded
from penstock.console.printing import print_json, print_line
from penstock.console.settings import ConsoleSettings
from penstock.console.surroundings import keep_quiet
from penstock.schemas.asyncapi import asyncapi_document
from penstock.schemas.documents import payload_schemas
from penstock.workers import Registry

Documents = dict[str, dict[str, Any]]


def export(modules: tuple[str, ...], folder: Path, *, as_json: bool) -> None:
    """Write what has changed; say what was written."""
    keep_quiet()
    documents = documents_of(loaded(modules, database_url=ConsoleSettings().database_url))
    folder.mkdir(parents=True, exist_ok=True)
    written = [name for name, document in sorted(documents.items()) if _write(folder / name, text_of(document))]
    if as_json:
        print_json({"folder": str(folder), "files": sorted(documents), "written": written})
    else:
        print_line(f"{folder}: {len(documents)} files, {len(written)} of them changed")


def documents_of(registry: Registry) -> Documents:
    """Every document by the name of its file. Dramatiq actors have no contract to export."""
    job_classes = [entry.job_class for entry in registry if entry.job_class is not None]
    return {
        **payload_schemas(job_classes),
        "asyncapi.json": asyncapi_document(job_classes),
        **_openapi(registry),
    }


def _openapi(registry: Registry) -> Documents:
    """How the HTTP gateway takes them, where `penstock[gateway]` is installed."""
    if find_spec("fastapi") is None:
        return {}
    from penstock.console.serving import catalogue_of  # noqa: PLC0415 - not everybody has it
    from penstock.producers.gateway.app import document_of  # noqa: PLC0415

    return {"openapi.json": document_of(catalogue_of(registry))}


def text_of(document: dict[str, Any]) -> str:
    """JSON for people and for version control."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _write(path: Path, text: str) -> bool:
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    path.write_text(text, encoding="utf-8")
    return True
