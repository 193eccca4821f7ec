"""What is wrong with a request, as RFC 9457 has it: which field, and what would make it right. Never a value."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
# `type` is a name, not an address: nothing needs to be looked up to handle it.
URN = "urn:penstock:problem:"


class Problem(Exception):
    """Ends a request with this answer. `errors` are (field, what is wrong and what would be right)."""

    def __init__(
        self,
        status: int,
        code: str,
        title: str,
        detail: str,
        *,
        errors: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        self.status = status
        self.code = code
        self.headers = dict(headers or {})
        self.document: dict[str, Any] = {"type": URN + code, "title": title, "status": status, "detail": detail}
        if errors:
            self.document["errors"] = [{"field": field, "detail": said} for field, said in errors]
        self.document |= more or {}
        super().__init__(detail)

    def response(self) -> Response:
        """The answer."""
        body = msgspec.json.encode(self.document)
        return Response(body, status_code=self.status, headers=self.headers, media_type=MEDIA_TYPE)


def malformed(detail: str, *, field: str | None = None) -> Problem:
    """The body, or a header, is not what it says it is."""
    errors = [] if field is None else [(field, detail)]
    return Problem(400, "malformed", "The request cannot be read", detail, errors=errors)


def invalid(errors: Sequence[tuple[str, str]]) -> Problem:
    """It can be read, and says something that cannot be."""
    detail = "; ".join(f"{field}: {said}" for field, said in errors)
    return Problem(422, "invalid", "The request is not valid", detail, errors=errors)


def too_large(bytes_max: int) -> Problem:
    detail = f"the body has more than {bytes_max} bytes; send less, in several requests"
    return Problem(413, "too-large", "The body is too large", detail)


def not_found(detail: str) -> Problem:
    return Problem(404, "not-found", "Not found", detail)


def unavailable(detail: str, *, retry_seconds: int = 2) -> Problem:
    """Nothing was accepted, or nobody can tell: the same request again, under the same key, is safe."""
    return Problem(
        503, "unavailable", "Not available at the moment", detail, headers={"Retry-After": str(retry_seconds)}
    )


def busy(detail: str) -> Problem:
    """This gateway has as much to do as it can hold, and has done nothing of this."""
    return Problem(
        503, "busy", "Too much to do", f"{detail}; send it again a little later", headers={"Retry-After": "2"}
    )
