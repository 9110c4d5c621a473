"""Over TLS or not at all: what Django's SECURE_SSL_REDIRECT does for its half, for the other one too.

A program that sends its key in the clear is refused, and not sent elsewhere: it would follow, and never learn.
"""

from collections.abc import Collection
from ipaddress import ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from .error_responses import error_response, reject_websocket

_PLAINTEXT_SCHEMES = {"http", "ws"}
_https_required = error_response(403, "This server is to be called by https://.", "https_required")


class HTTPSOnlyMiddleware:
    """An ASGI application: refuses what comes in the clear, but for `probes` from this machine, and passes all else on.

    Whether a proxy in front says that it came over TLS is for `proxies` to see to.
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
        return not address  # a Unix socket's end has none
    return (getattr(ip, "ipv4_mapped", None) or ip).is_loopback
