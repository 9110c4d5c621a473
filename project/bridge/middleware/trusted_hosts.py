"""Checks the `Host` header against ALLOWED_HOSTS for FastAPI, as Django does for its own views.

The check stops DNS rebinding, where an attacker's domain points to this server, so that the browser treats both as one origin. It
also prevents links that are built from a forged `Host` header, for example in a password reset email. Two kinds of requests
always pass: requests to a host name without a dot (`test`, a container's name), because a foreign page cannot have such a name,
and requests without a `Host` header, because browsers do not send such requests.
"""

import re
from functools import lru_cache

from django.conf import settings
from django.http.request import split_domain_port, validate_host
from starlette.types import ASGIApp, Receive, Scope, Send

from .error_responses import error_response, reject_websocket


class TrustedHostMiddleware:
    """ASGI middleware that rejects requests and WebSockets whose host is not in ALLOWED_HOSTS."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or _is_trusted(scope):
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await _bad_host(scope, receive, send)
        else:
            await reject_websocket(scope, receive, send)


_bad_host = error_response(400, "The Host header is not in ALLOWED_HOSTS.", "bad_host")
_SINGLE_LABEL = re.compile(r"[a-z0-9_-]+(:[0-9]+)?", re.IGNORECASE)


def _is_trusted(scope: Scope) -> bool:
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    return not hosts or (len(hosts) == 1 and _is_allowed(hosts[0], tuple(settings.ALLOWED_HOSTS)))


@lru_cache(maxsize=1024)  # nearly all requests have one of a few host names
def _is_allowed(header: bytes, allowed: tuple[str, ...]) -> bool:
    """Return whether Django's `HttpRequest.get_host` would accept the header, or the header is a name without a dot."""
    host = header.decode("latin-1")
    domain, _port = split_domain_port(host)
    return _SINGLE_LABEL.fullmatch(host) is not None or (domain != "" and validate_host(domain, allowed))
