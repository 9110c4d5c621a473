"""Only under our own names: what Django does for its half, for the other one too.

A page that has its own name point at us (DNS rebinding) is of the same origin to a browser; and a link made from a foreign
`Host`, as in a mail that resets a password, leads away. A name without a dot (`test`, a container's) can be no page's elsewhere,
and who names no host is no browser: both are let through.
"""

import re

from django.core.exceptions import DisallowedHost
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from project.bridge.origins import refuse
from project.bridge.sessions import django_request


class OwnHosts:
    """An ASGI application: refuses a request or socket for a host that ALLOWED_HOSTS does not name, passes all else on."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or _is_ours(HTTPConnection(scope)):
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await _BAD_HOST(scope, receive, send)
        else:
            await refuse(scope, receive, send)


_BAD_HOST = JSONResponse({"detail": "This server does not go by that name.", "code": "bad_host"}, 400)


_ONE_LABEL = re.compile(r"[a-z0-9_-]+(:[0-9]+)?", re.IGNORECASE)


def _is_ours(connection: HTTPConnection) -> bool:
    named = connection.headers.getlist("host")
    if not named or (len(named) == 1 and _ONE_LABEL.fullmatch(named[0])):
        return True
    try:
        django_request(connection).get_host()
    except DisallowedHost:
        return False
    return True
