"""Origin check for WebSockets, against cross-site WebSocket hijacking (RFC 6455 section 10.2).

A browser lets any page open a WebSocket to this server, and sends the session cookie with it. Daphne does not check the Origin. A
client without an Origin header is not a browser. Such a client may connect, but `sessions.session_user` ignores its cookie. The
validator of Channels rejects such clients, and compares hosts without ports.
"""

from django.http import HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from ..sessions import django_request
from .error_responses import reject_websocket


class WebSocketOriginMiddleware:
    """ASGI middleware for WebSockets that rejects handshakes with a foreign Origin."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._csrf = CsrfViewMiddleware(lambda _request: HttpResponse())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (reject_websocket if self._is_foreign(HTTPConnection(scope)) else self.app)(scope, receive, send)

    def _is_foreign(self, connection: HTTPConnection) -> bool:
        # Django's rule for forms: the Origin has the request's scheme, host and port, or is in CSRF_TRUSTED_ORIGINS.
        verified = self._csrf._origin_verified  # type: ignore[attr-defined]  # not in django-stubs
        return "origin" in connection.headers and not verified(django_request(connection))
