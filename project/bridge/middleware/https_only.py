"""Requires HTTPS for FastAPI, as SECURE_SSL_REDIRECT does for Django.

Plain HTTP is rejected, not redirected, because a program would follow each redirect and continue to send its API key unencrypted.
"""

from collections.abc import Collection
from ipaddress import ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from .error_responses import error_response, reject_websocket

_PLAINTEXT_SCHEMES = {"http", "ws"}
_https_required = error_response(403, "This server accepts only HTTPS requests.", "https_required")


class HTTPSOnlyMiddleware:
    """ASGI middleware that rejects requests and WebSockets without TLS.

    Requests from this machine to the paths in `probes` are exempt. Behind a proxy that terminates TLS, `ProxyHeadersMiddleware`
    must run first, because it sets the scheme.
    """

    def __init__(self, app: ASGIApp, *, probes: Collection[str] = ()) -> None:
        self.app = app
        self._probes = frozenset(probes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan" or scope.get("scheme", "http") not in _PLAINTEXT_SCHEMES or self._is_probe(scope):
            await self.app(scope, receive, send)
        else:
            await (_https_required if kind == "http" else reject_websocket)(scope, receive, send)

    def _is_probe(self, scope: Scope) -> bool:
        return scope["type"] == "http" and scope["path"] in self._probes and _is_from_this_machine(scope)


def _is_from_this_machine(scope: Scope) -> bool:
    address = (scope.get("client") or [""])[0]
    try:
        ip = ip_address(address)
    except ValueError:
        return not address  # a client on a Unix socket has no IP address
    return (getattr(ip, "ipv4_mapped", None) or ip).is_loopback
