"""The one place where a refusal becomes HTTP: `{"detail": …, "code": …}`, and FastAPI's list of `{loc, msg, type}` for
422.
"""

import logging
from collections.abc import Callable, Coroutine, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match

from project.accounts.limits import QuotaExceeded, RateLimited, TryLater
from project.accounts.lockout import LockedOut
from project.accounts.places import TooManySockets
from project.accounts.principal import MissingScope, NotAuthenticated, SenderNotAllowed
from project.accounts.scopes import InvalidScope
from project.accounts.two_factor import TwoFactorRequired
from project.bridge.database import AWAY
from project.bridge.sessions import CsrfFailed
from project.errors import Refusal
from project.outbox.accept import IdempotencyKeyReused
from project.outbox.change import EmailNotCancelable, EmailNotReschedulable, EmailNotRetryable, EmailNotYours
from project.outbox.liquid import TemplateInvalid
from project.outbox.queries import EmailNotFound
from project.outbox.suppressions import SuppressionNotFound
from project.outbox.templates import TemplateNotFound

logger = logging.getLogger(__name__)

STATUS: dict[type[Refusal], int] = {
    InvalidScope: 400,
    NotAuthenticated: 401,
    MissingScope: 403,
    TwoFactorRequired: 403,
    SenderNotAllowed: 403,
    EmailNotYours: 403,
    EmailNotFound: 404,
    SuppressionNotFound: 404,
    TemplateNotFound: 404,
    EmailNotCancelable: 409,
    EmailNotReschedulable: 409,
    EmailNotRetryable: 409,
    IdempotencyKeyReused: 422,
    LockedOut: 429,
    QuotaExceeded: 429,
    RateLimited: 429,
    TooManySockets: 429,
}
CODES = {413: "content_too_large"}  # where the name that Python has for a status changed with its version
CHALLENGE = {"WWW-Authenticate": "Bearer"}  # RFC 6750 section 3
CHALLENGED = {name: {"required": True, "schema": {"const": value}} for name, value in CHALLENGE.items()}
RETRIED = {"Retry-After": {"required": True, "description": "In seconds", "schema": {"type": "integer", "minimum": 1}}}
TOLD = {401: CHALLENGED, 429: RETRIED}  # headers


class Problem(BaseModel):
    """Why it was not done."""

    detail: str = Field(description="For people; may change", examples=["Not authenticated"])
    code: str = Field(description="For programs; does not change", examples=["not_authenticated"])


class FieldProblem(BaseModel):
    """What is wrong with one value."""

    loc: list[str | int] = Field(description="Where it is", examples=[["query", "x"]])
    msg: str = Field(examples=["Field required"])
    type: str = Field(examples=["missing"])


class ValidationProblem(BaseModel):
    """What is wrong with the values that came."""

    detail: list[FieldProblem]


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses`: that it may answer with these, and what they look like.

    With 401 goes 429: whoever is asked who they are is counted.
    """
    counted = (429,) if 401 in statuses else ()
    return {
        status: {"model": ValidationProblem if status == 422 else Problem, "headers": TOLD.get(status, {})}
        for status in (*statuses, *counted)
    }


def problems_beside(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The same for a route whose own answers are no JSON, as FastAPI would take these for."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "headers": told["headers"],
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{told['model'].__name__}"}}},
        }
        for status, told in problems(*statuses).items()
        if isinstance(status, int)
    }


def problem(status: int, detail: str, code: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The answer that says why it was not done."""
    return _unkept({"detail": detail, "code": code}, status, headers)


def _unkept(content: dict[str, Any], status: int, headers: Mapping[str, str] | None = None) -> JSONResponse:
    # A 404 or 405 may be kept unless it says otherwise (RFC 9110 section 15.1), and what was refused now may be done next.
    return JSONResponse(content, status, {**(headers or {}), "Cache-Control": "no-store"})


async def _refused(_request: Request, error: Refusal) -> JSONResponse:
    status = STATUS[type(error)]
    headers = error.headers if isinstance(error, TryLater) else CHALLENGE if status == HTTPStatus.UNAUTHORIZED else {}
    return problem(status, error.detail, error.code, headers)


async def _template_invalid(_request: Request, error: TemplateInvalid) -> JSONResponse:
    return _unkept({"detail": [{"loc": ["body", error.part], "msg": error.detail, "type": error.kind}]}, 422)


async def _forged(_request: Request, error: CsrfFailed) -> JSONResponse:
    return problem(403, f"A session needs Django's CSRF token in X-CSRFToken: {error}", "csrf_failed")


async def _invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
    detail = [{key: problem[key] for key in ("loc", "msg", "type")} for problem in error.errors()]
    return _unkept({"detail": detail}, 422)


async def _http(request: Request, error: HTTPException) -> JSONResponse:
    status = error.status_code
    headers = {"Allow": _methods(request)} if "Allow" in (error.headers or {}) else error.headers
    return problem(status, error.detail, CODES.get(status) or HTTPStatus(status).name.lower(), headers)


def _methods(request: Request) -> str:
    # FastAPI names those of the path's first route alone (RFC 9110 section 15.5.6 wants all).
    routes = iter_route_contexts(request.app.routes)
    return ", ".join(sorted({m for r in routes if r.methods and r.matches(request.scope)[0] != Match.NONE for m in r.methods}))


async def _database_away(_request: Request, error: Exception) -> JSONResponse:
    logger.error("The database failed: %s: %s", type(error).__name__, " ".join(str(error).split()))  # at each call: no traceback
    return problem(503, "The database does not answer; try again soon.", "database_unavailable", {"Retry-After": "5"})


async def _failed(_request: Request, _error: Exception) -> JSONResponse:
    return problem(500, "Something went wrong here.", "internal_error")  # Starlette raises it again, for the log


ERROR_HANDLERS: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    Refusal: _refused,
    TemplateInvalid: _template_invalid,
    CsrfFailed: _forged,
    RequestValidationError: _invalid,
    HTTPException: _http,
    **dict.fromkeys(AWAY, _database_away),
    Exception: _failed,
}
