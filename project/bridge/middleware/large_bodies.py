"""Reads large bodies for Django's views only from users who are logged in.

Django reads the whole body before it calls its middleware and views. Without this class, a client with any cookie could make the
server store a large body. Needs the packages django and fastapi.
"""

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from ..database.transactions import DATABASE_UNAVAILABLE_ERRORS
from ..sessions import CsrfFailed, load_session
from .error_responses import error_response


class LargeBodyMiddleware:
    """ASGI middleware that rejects a body of more than `limit` bytes from a client that is not logged in.

    Under `DaphneServer` with the same `limit`, the body has not been read then.
    """

    def __init__(self, app: ASGIApp, *, limit: int) -> None:
        self.app = app
        self._limit = limit
        self._too_large = error_response(413, f"The request body is larger than {limit} bytes.", "content_too_large")
        self._unknown_length = error_response(411, "Log in, or send a Content-Length.", "length_required")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        rejection = self._rejection(scope) if scope["type"] == "http" else None
        if rejection is None or await _is_logged_in(scope):
            await self.app(scope, receive, send)
        else:
            await rejection(scope, receive, send)

    def _rejection(self, scope: Scope) -> ASGIApp | None:
        """Return the response for a client that is not logged in, or None if the body may be read."""
        headers = HTTPConnection(scope).headers
        if "transfer-encoding" in headers:
            # The server limits the body of a client without a cookie.
            return self._unknown_length if "cookie" in headers or "authorization" in headers else None
        length = headers.get("content-length", "0")
        return self._too_large if length.isdecimal() and int(length) > self._limit else None


async def _is_logged_in(scope: Scope) -> bool:
    try:
        return await load_session(HTTPConnection(scope)) is not None
    except CsrfFailed:  # raised only for a user who is logged in; the token of a form is in the body, where Django looks for it
        return True
    except DATABASE_UNAVAILABLE_ERRORS:
        return True  # Django's own response describes the failure
