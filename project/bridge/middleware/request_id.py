"""A request id and the client's address for log lines, as context variables.

The id follows a request through both halves, and through threads that inherit the caller's context. It is taken from the header
`X-Request-ID`, which a proxy may set, and is returned in the same header. A client may send any value, so an id with unusual
characters or a great length is replaced: it must not forge log lines or fill the log.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = b"x-request-id"
MAX_REQUEST_ID_LENGTH = 128
_VALID = re.compile(rb"[A-Za-z0-9._:/=+-]{1,%d}" % MAX_REQUEST_ID_LENGTH)  # UUIDs, hex, base64 and AWS's `Root=1-…`
_STARTS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})

_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
_client_address: ContextVar[str | None] = ContextVar("client_address", default=None)


def current_request_id() -> str | None:
    """Return the id of the request that this code runs for, or None outside of a request."""
    return _request_id.get()


def current_client_address() -> str | None:
    """Return the IP address of the client that this code runs for. None outside of a request, or for a Unix socket."""
    return _client_address.get()


def new_request_id() -> str:
    """Return a random request id."""
    return os.urandom(16).hex()


def set_request_id(request_id: str | None) -> None:
    """Let the following code of this context, such as a task that works for one request after another, run for a request."""
    _request_id.set(request_id)


@contextmanager
def running_for_request(request_id: str | None) -> Iterator[None]:
    """Let code in this context run for an earlier request, for example work that the request has queued."""
    token = _request_id.set(request_id)
    try:
        yield
    finally:
        _request_id.reset(token)


class RequestIdMiddleware:
    """ASGI middleware that sets the request id and the client's address, and adds `X-Request-ID` to each response.

    Behind a proxy, `ProxyHeadersMiddleware` must run first, because it sets the client's address.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        request_id = _received_id(scope) or new_request_id()
        # The variables are not reset: the request has a context of its own, and the server logs errors of the request later.
        _request_id.set(request_id)
        _client_address.set((scope.get("client") or [None])[0])
        await self.app(scope, receive, partial(_send, send, (HEADER, request_id.encode())))


async def _send(send: Send, header: tuple[bytes, bytes], message: Message) -> None:
    if message["type"] in _STARTS:
        message = {**message, "headers": [*message.get("headers", ()), header]}
    await send(message)


def _received_id(scope: Scope) -> str | None:
    """Return the request's id if it is valid and there is only one."""
    values = [value for name, value in scope["headers"] if name == HEADER]
    return values[0].decode() if len(values) == 1 and _VALID.fullmatch(values[0]) else None
