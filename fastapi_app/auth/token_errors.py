"""Errors of `POST /api/token`: our own error body, with the two fields of OAuth 2.0 (RFC 6749 section 5.2) beside it."""

import json
import re
from collections.abc import Callable, Coroutine
from typing import Any, Literal

from fastapi import Request, Response
from pydantic import BaseModel, Field

from fastapi_app.api_route import ApiRoute
from fastapi_app.error_responses import ErrorBody, ValidationErrorBody, openapi_errors, uncached_json
from fastapi_app.exception_handlers import EXCEPTION_HANDLERS

OAuthError = Literal["invalid_request", "invalid_grant", "invalid_scope", "unsupported_grant_type", "temporarily_unavailable"]
ERROR_BY_CODE: dict[str, OAuthError] = {
    "not_authenticated": "invalid_grant",
    "two_factor_required": "invalid_grant",
    "locked_out": "invalid_grant",
    "invalid_scope": "invalid_scope",
    "rate_limited": "temporarily_unavailable",
    "login_busy": "temporarily_unavailable",
    "database_unavailable": "temporarily_unavailable",
}
HANDLED_ERRORS = tuple(error for error in EXCEPTION_HANDLERS if isinstance(error, type) and error is not Exception)
MAX_DESCRIPTION_LENGTH = 300  # characters
REPLACED_HEADERS = ("content-length", "content-type", "cache-control")


class _OAuthFields(BaseModel):
    error: OAuthError = Field(description="Error code of RFC 6749 section 5.2", examples=["invalid_grant"])
    error_description: str = Field(description="The same as `detail`, in ASCII", examples=["Incorrect username or password."])


class TokenErrorBody(ErrorBody, _OAuthFields):
    """An error of the token endpoint."""


class TokenValidationErrorBody(ValidationErrorBody, _OAuthFields):
    """The problems that validation found in a request to the token endpoint."""


TOKEN_ERRORS = {
    **{status: {**response, "model": TokenErrorBody} for status, response in openapi_errors(400, 401, 403, 415).items()},
    **openapi_errors(413),
    422: {"model": TokenValidationErrorBody},
}


class TokenRoute(ApiRoute):
    """Route whose errors also have `error` and `error_description`, so that OAuth 2.0 clients recognize them."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except HANDLED_ERRORS as error:
                handle_error = next(EXCEPTION_HANDLERS[cls] for cls in type(error).__mro__ if cls in EXCEPTION_HANDLERS)
                return _add_oauth_fields(await handle_error(request, error))

        return handle


def _add_oauth_fields(response: Response) -> Response:
    body = json.loads(bytes(response.body))
    detail = body["detail"]
    if isinstance(detail, list):
        unsupported = any("grant_type" in each["loc"] and each["type"] != "missing" for each in detail)
        error: OAuthError = "unsupported_grant_type" if unsupported else "invalid_request"
        detail = "; ".join(f"{each['loc'][-1]}: {each['msg']}" for each in detail)
    else:
        error = ERROR_BY_CODE.get(body["code"], "invalid_request")
    # RFC 6749 section 5.2 allows printable ASCII without quotation marks and backslashes.
    description = re.sub(r"[^ !#-\[\]-~]", "?", detail.replace('"', "'"))[:MAX_DESCRIPTION_LENGTH]
    headers = {name: value for name, value in response.headers.items() if name not in REPLACED_HEADERS}
    return uncached_json({**body, "error": error, "error_description": description}, response.status_code, headers)
