"""Maps errors to HTTP responses: `{"detail": …, "code": …}`, and FastAPI's list of `{loc, msg, type}` for 422.

No other module chooses a status for a domain error.
"""

import logging
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.routing import Match

from fastapi_app.error_responses import CHALLENGE, error_response, uncached_json
from fastapi_app.problems import shown_problems
from project.accounts.hashing import LoginBusy
from project.accounts.lockout import LockedOut
from project.accounts.two_factor import TwoFactorRequired
from project.api_keys.quota import QuotaExceeded
from project.auth.principal import InsufficientScope, NotAuthenticated, SenderNotAllowed
from project.auth.scopes import InvalidScope
from project.bridge.database.transactions import DATABASE_UNAVAILABLE_ERRORS
from project.bridge.sessions import CsrfFailed
from project.emails.actions import EmailBodyDeleted, EmailNotCancelable, EmailNotReschedulable, EmailNotRetryable, NotOwner
from project.emails.idempotency import IdempotencyKeyReused
from project.emails.mime.build_budget import BatchTooComplex
from project.emails.resend import EmailNotResendable
from project.emails.selectors import EmailNotFound
from project.emails.submit import EmailTooLarge
from project.errors import DomainError, RetryLater
from project.limits.connection_slots import TooManyConnections
from project.limits.rate_limits import RateLimited
from project.mail_templates.liquid import TemplateInvalid
from project.mail_templates.store import TemplateNotFound
from project.suppressions.store import SuppressionNotFound

logger = logging.getLogger(__name__)

STATUS_BY_ERROR: dict[type[DomainError], int] = {
    InvalidScope: 400,
    NotAuthenticated: 401,
    InsufficientScope: 403,
    TwoFactorRequired: 403,
    SenderNotAllowed: 403,
    NotOwner: 403,
    EmailNotFound: 404,
    SuppressionNotFound: 404,
    TemplateNotFound: 404,
    EmailBodyDeleted: 409,
    EmailNotCancelable: 409,
    EmailNotReschedulable: 409,
    EmailNotResendable: 409,
    EmailNotRetryable: 409,
    EmailTooLarge: 422,
    BatchTooComplex: 422,
    IdempotencyKeyReused: 422,
    LockedOut: 429,
    QuotaExceeded: 429,
    RateLimited: 429,
    LoginBusy: 503,
    TooManyConnections: 429,
}
READING_METHODS = frozenset({"GET", "HEAD"})
CODE_BY_STATUS = {413: "content_too_large"}  # Python versions have different names for this status


async def handle_domain_error(_request: Request, error: DomainError) -> JSONResponse:
    status = STATUS_BY_ERROR[type(error)]
    headers = error.headers if isinstance(error, RetryLater) else CHALLENGE if status == HTTPStatus.UNAUTHORIZED else {}
    return error_response(status, error.detail, error.code, headers)


async def handle_template_invalid(_request: Request, error: TemplateInvalid) -> JSONResponse:
    return uncached_json({"detail": [{"loc": ["body", error.part], "msg": error.detail, "type": error.kind}]}, 422)


async def handle_csrf_failed(_request: Request, error: CsrfFailed) -> JSONResponse:
    return error_response(403, f"Requests with a session cookie need Django's CSRF token in X-CSRFToken: {error}", "csrf_failed")


async def handle_validation_error(_request: Request, error: RequestValidationError) -> JSONResponse:
    return uncached_json({"detail": shown_problems(error.errors())}, 422)


async def handle_http_error(request: Request, error: HTTPException) -> JSONResponse:
    status = error.status_code
    headers = {"Allow": _allowed_methods(request)} if status == HTTPStatus.METHOD_NOT_ALLOWED else error.headers
    return error_response(status, error.detail, CODE_BY_STATUS.get(status) or HTTPStatus(status).name.lower(), headers)


def _allowed_methods(request: Request) -> str:
    # FastAPI lists only the methods of the path's first route; RFC 9110 section 15.5.6 requires all of them.
    routes = iter_route_contexts(request.app.routes)
    methods = {m for route in routes if route.methods and route.matches(request.scope)[0] != Match.NONE for m in route.methods}
    return ", ".join(sorted(methods or READING_METHODS))  # a mount of files has no methods


async def handle_database_unavailable(_request: Request, error: Exception) -> JSONResponse:
    logger.error("A request failed", exc_info=error)
    return error_response(503, "The database is unavailable. Try again soon.", "database_unavailable", {"Retry-After": "5"})


async def handle_internal_error(_request: Request, _error: Exception) -> JSONResponse:
    # Not logged here, because Starlette re-raises the error and the server logs it.
    return error_response(500, "Internal server error.", "internal_error")


EXCEPTION_HANDLERS: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    DomainError: handle_domain_error,
    TemplateInvalid: handle_template_invalid,
    CsrfFailed: handle_csrf_failed,
    RequestValidationError: handle_validation_error,
    HTTPException: handle_http_error,
    **dict.fromkeys(DATABASE_UNAVAILABLE_ERRORS, handle_database_unavailable),
    Exception: handle_internal_error,
}
