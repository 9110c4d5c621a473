"""Rejects unsafe requests that a page of another origin sends without a credential of its own.

Browsers let any page send a POST to any host, including hosts inside the visitor's network. Django's CSRF check covers requests
with a session cookie. This middleware covers the others: routes that need no credential, and logins. A request with an
Authorization header passes, because a browser sends this header to another origin only after a CORS preflight allowed it.
"""

from collections.abc import Collection

from django.http import HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from ..sessions import django_request
from .error_responses import error_response

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# `none`: the user started the request, for example from the address bar. `same-site` is another origin of the same domain, such
# as another port of this machine.
OWN_SITES = frozenset({"same-origin", "none"})
_cross_origin = error_response(
    403, "Web pages of another origin can send this request only with an Authorization header.", "csrf_failed"
)


class CrossOriginMiddleware:
    """ASGI middleware that rejects unsafe cross-origin requests without an Authorization header.

    `trusted` contains further origins that may send such requests, in addition to `CSRF_TRUSTED_ORIGINS`.
    """

    def __init__(self, app: ASGIApp, *, trusted: Collection[str] = ()) -> None:
        self.app = app
        self._trusted = frozenset(trusted)
        self._csrf = CsrfViewMiddleware(lambda _request: HttpResponse())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_unsafe = scope["type"] == "http" and scope["method"] not in SAFE_METHODS
        await (_cross_origin if is_unsafe and self._is_foreign(HTTPConnection(scope)) else self.app)(scope, receive, send)

    def _is_foreign(self, connection: HTTPConnection) -> bool:
        headers = connection.headers
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if "authorization" in headers or (origin is None and site is None):
            return False  # a client that sends neither header is not a browser
        if origin is None:
            return site not in OWN_SITES
        return not self._is_trusted(origin, connection)

    def _is_trusted(self, origin: str, connection: HTTPConnection) -> bool:
        host = connection.headers.get("host")  # checked by `TrustedHostMiddleware`, which allows some names that Django rejects
        if origin in self._trusted or origin == f"{connection.scope.get('scheme', 'http')}://{host}":
            return True
        verified: bool = self._csrf._origin_verified(django_request(connection))  # type: ignore[attr-defined]  # not in django-stubs
        return verified
