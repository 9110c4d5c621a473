"""WebSockets are opened by our own pages, or by no page at all.

A browser lets any page open a socket to us and sends our cookie along (cross-site WebSocket hijacking, RFC 6455
section 10.2), and Daphne checks no Origin. A client without an Origin header is no browser: it may connect, but its
cookie authorises nothing (`sessions.session_user` sees to that). Channels' own validator refuses such clients, and
knows hosts but no ports.
"""

from django.http import HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from ..sessions import django_request
from .error_responses import reject_websocket


class WebSocketOriginMiddleware:
    """An ASGI application for WebSockets: refuses a foreign Origin before `accept`, passes all else on."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._csrf = CsrfViewMiddleware(lambda _request: HttpResponse())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (reject_websocket if self._is_foreign(HTTPConnection(scope)) else self.app)(scope, receive, send)

    def _is_foreign(self, connection: HTTPConnection) -> bool:
        # Django's own rule for forms: scheme, host and port are ours, or CSRF_TRUSTED_ORIGINS names the origin.
        verified = self._csrf._origin_verified  # type: ignore[attr-defined]  # not in django-stubs
        return "origin" in connection.headers and not verified(django_request(connection))
