"""Only under our own names: what Django does for its half, for the other one too.

A page that has its own name point at us (DNS rebinding) is of the same origin to a browser; and a link made from a foreign
`Host`, as in a mail that resets a password, leads away. A name without a dot (`test`, a container's) can be no page's elsewhere,
and who names no host is no browser: both are let through.
"""

import re
from functools import lru_cache

from django.conf import settings
from django.http.request import split_domain_port, validate_host
from starlette.types import ASGIApp, Receive, Scope, Send

from .error_responses import error_response, reject_websocket


class TrustedHostMiddleware:
    """An ASGI application: refuses a request or socket for a host that ALLOWED_HOSTS does not name, passes all else on."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or _is_trusted(scope):
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await _bad_host(scope, receive, send)
        else:
            await reject_websocket(scope, receive, send)


_bad_host = error_response(400, "This server does not go by that name.", "bad_host")


_SINGLE_LABEL = re.compile(r"[a-z0-9_-]+(:[0-9]+)?", re.IGNORECASE)


def _is_trusted(scope: Scope) -> bool:
    named = [value for name, value in scope["headers"] if name == b"host"]
    return not named or (len(named) == 1 and _is_allowed(named[0], tuple(settings.ALLOWED_HOSTS)))


@lru_cache(maxsize=1024)  # a server goes by few names, and is asked for by them with each request
def _is_allowed(named: bytes, allowed: tuple[str, ...]) -> bool:
    """As Django's `HttpRequest.get_host` decides it."""
    host = named.decode("latin-1")
    domain, _port = split_domain_port(host)
    return _SINGLE_LABEL.fullmatch(host) is not None or (domain != "" and validate_host(domain, allowed))
