"""Answers as JSON."""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response


def answer(document: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Times in RFC 3339, results byte for byte."""
    body = msgspec.json.encode(document)
    return Response(body, status_code=status, headers=headers, media_type="application/json")
