"""Error bodies, and how routes declare them in OpenAPI."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

CHALLENGE = {"WWW-Authenticate": "Bearer"}  # RFC 6750 section 3
CHALLENGE_HEADERS = {name: {"required": True, "schema": {"const": value}} for name, value in CHALLENGE.items()}
RETRY_HEADERS = {
    "Retry-After": {"required": True, "description": "Seconds to wait", "schema": {"type": "integer", "minimum": 1}},
}
RESPONSE_HEADERS = {401: CHALLENGE_HEADERS, 429: RETRY_HEADERS}  # by status


class ErrorBody(BaseModel):
    """An error."""

    detail: str = Field(description="Human-readable message. The text may change.", examples=["Not authenticated"])
    code: str = Field(description="Machine-readable code. It does not change.", examples=["not_authenticated"])


class FieldError(BaseModel):
    """A problem with one value of the request."""

    loc: list[str | int] = Field(description="Path to the value", examples=[["query", "x"]])
    msg: str = Field(examples=["Field required"])
    type: str = Field(examples=["missing"])


class ValidationErrorBody(BaseModel):
    """The problems that validation found in a request."""

    detail: list[FieldError]


def openapi_errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return a route's `responses` for these error statuses.

    A 401 implies a 429, because every route that authenticates its caller is rate limited.
    """
    rate_limited = (429,) if 401 in statuses else ()
    return {
        status: {"model": ValidationErrorBody if status == 422 else ErrorBody, "headers": RESPONSE_HEADERS.get(status, {})}
        for status in (*statuses, *rate_limited)
    }


def openapi_non_json_errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route whose success response is not JSON.

    The media type is set explicitly, because FastAPI would use the media type of the success response for the errors.
    """
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "headers": response["headers"],
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{response['model'].__name__}"}}},
        }
        for status, response in openapi_errors(*statuses).items()
        if isinstance(status, int)
    }


def _checked_response(status: int) -> dict[str, Any]:
    (response,) = openapi_non_json_errors(status).values()
    return response


# The responses of the checks that `ApiRoute` makes before it calls the route.
CHECKED_RESPONSES = {str(status): _checked_response(status) for status in (415, 422)}


def error_response(status: int, detail: str, code: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return an error with an `ErrorBody`."""
    return uncached_json({"detail": detail, "code": code}, status, headers)


def uncached_json(content: dict[str, Any], status: int, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return JSON that no cache may store: a 404 is cacheable by default (RFC 9110 section 15.1), but may soon be wrong."""
    return JSONResponse(content, status, {**(headers or {}), "Cache-Control": "no-store"})
