"""Django's sessions and CSRF check for FastAPI: a user who is logged in at /admin/ is logged in at /api too.

Django's own code checks the session, so a changed password or a deactivated user ends the session. Browsers send the session
cookie with forged requests, too, so a request with an unsafe method also needs a CSRF token. Needs the packages django and
fastapi, and reads `SESSION_ENGINE`, `SESSION_COOKIE_NAME` and Django's CSRF settings.
"""

from dataclasses import dataclass
from importlib import import_module
from io import BytesIO

from django.conf import settings
from django.contrib import auth
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from starlette.requests import HTTPConnection

from .database.read_transactions import WriteInReadTransaction, run_lookup
from .database.transactions import run_in_transaction


class CsrfFailed(Exception):
    """A request with a session cookie and an unsafe method failed Django's CSRF check. The message is Django's reason."""


@dataclass(frozen=True)
class DjangoSession:
    """A logged-in, active user, and the request as a Django request with the loaded session."""

    user: AbstractBaseUser
    request: HttpRequest


async def session_user(connection: HTTPConnection) -> AbstractBaseUser | None:
    """FastAPI dependency. Return the logged-in, active Django user of a request or WebSocket, or None. Raises `CsrfFailed`."""
    session = await load_session(connection)
    return None if session is None else session.user


async def load_session(connection: HTTPConnection) -> DjangoSession | None:
    """Return the session of a request or WebSocket, or None without a logged-in, active user. Raises `CsrfFailed`.

    The cookie of a WebSocket without an Origin header is ignored, because `WebSocketOriginMiddleware` cannot check its origin.
    All browsers send an Origin header.
    """
    if not connection.cookies.get(settings.SESSION_COOKIE_NAME, "").isalnum():
        return None  # no cookie, or not Django's: Django's session keys are letters and digits
    if connection.scope["type"] == "websocket" and "origin" not in connection.headers:
        return None
    request = django_request(connection)
    try:
        user = await run_lookup(_load_user, request)
    except WriteInReadTransaction:  # Django deletes a session when the user's password has changed
        user = await run_in_transaction(_load_user, request)
    if user is not None and connection.scope["type"] == "http":
        _check_csrf(request)
    return None if user is None else DjangoSession(user, request)


def django_request(connection: HTTPConnection) -> HttpRequest:
    """Return the request as a Django `HttpRequest`, with headers, cookies, host and scheme, but without a body."""
    headers = [(name, value) for name, value in connection.scope["headers"] if name not in _BODY_HEADERS]
    scheme = _SCHEMES.get(connection.scope.get("scheme", "http"), "http")
    scope = {"method": "GET", **connection.scope, "headers": headers, "root_path": "", "scheme": scheme}
    return ASGIRequest(scope, BytesIO())


_SCHEMES = {"https": "https", "wss": "https"}
_BODY_HEADERS = (b"content-type", b"content-length", b"transfer-encoding")


def _load_user(request: HttpRequest) -> AbstractBaseUser | None:
    engine = import_module(settings.SESSION_ENGINE)
    request.session = engine.SessionStore(request.COOKIES.get(settings.SESSION_COOKIE_NAME))
    # For a session of an earlier SECRET_KEY, Django would start a new session. The client would not get its cookie from here.
    request.session.cycle_key = _keep_key  # type: ignore[method-assign]  # only of this instance
    user = auth.get_user(request)
    return None if isinstance(user, AnonymousUser) else user


def _keep_key() -> None:
    """Do nothing. It replaces a method of the session."""


class _CsrfCheck(CsrfViewMiddleware):
    def _reject(self, request: HttpRequest, reason: str) -> HttpResponse:
        raise CsrfFailed(reason)


def _empty_view(_request: HttpRequest) -> HttpResponse:
    return HttpResponse()


def _check_csrf(request: HttpRequest) -> None:
    check = _CsrfCheck(_empty_view)
    check.process_request(request)
    check.process_view(request, _empty_view, (), {})
