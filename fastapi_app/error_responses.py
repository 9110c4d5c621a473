"""Error bodies, and how routes declare them in OpenAPI."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

CHALLENGE = {"WWW-Authenticate": "Bearer"}  # RFC 6750 section 3
CHALLENGE_HEADERS = {name: {"required": True, "schema": {"const": value}} for name, value in CHALLENGE.items()}
RETRY_HEADERS = {"Retry-After": {"required": True, "description": "In seconds", "schema": {"type": "integer", "minimum": 1}}}
RESPONSE_HEADERS = {401: CHALLENGE_HEADERS, 429: RETRY_HEADERS}  # headers


class ErrorBody(BaseModel):
    """Why it was not done."""

    detail: str = Field(description="For people; may change", examples=["Not authenticated"])
    code: str = Field(description="For programs; does not change", examples=["not_authenticated"])


class FieldError(BaseModel):
    """What is wrong with one value."""

    loc: list[str | int] = Field(description="Where it is", examples=[["query", "x"]])
    msg: str = Field(examples=["Field required"])
    type: str = Field(examples=["missing"])


class ValidationErrorBody(BaseModel):
    """What is wrong with the values that came."""

    detail: list[FieldError]


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses`: that it may answer with these, and what they look like.

    With 401 goes 429: whoever is asked who they are is counted.
    """
    counted = (429,) if 401 in statuses else ()
    return {
        status: {"model": ValidationErrorBody if status == 422 else ErrorBody, "headers": RESPONSE_HEADERS.get(status, {})}
        for status in (*statuses, *counted)
    }


def error_responses_for_non_json(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The same for a route whose own answers are no JSON, as FastAPI would take these for."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "headers": told["headers"],
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{told['model'].__name__}"}}},
        }
        for status, told in error_responses(*statuses).items()
        if isinstance(status, int)
    }


def error_response(status: int, detail: str, code: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The answer that says why it was not done."""
    return uncached_json({"detail": detail, "code": code}, status, headers)


def uncached_json(content: dict[str, Any], status: int, headers: Mapping[str, str] | None = None) -> JSONResponse:
    # A 404 or 405 may be kept unless it says otherwise (RFC 9110 section 15.1), and what was refused now may be done next.
    return JSONResponse(content, status, {**(headers or {}), "Cache-Control": "no-store"})
