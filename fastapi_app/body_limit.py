"""The size limit of request bodies, for servers without a limit of their own (stock Daphne, Uvicorn).

The bridge's own server enforces the limit earlier, before it calls the application.

Pure ASGI. FastAPI's own `max_body_size` responds without our `code`.
"""

from django.conf import settings
from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fastapi_app.error_responses import error_response

MAX_REQUEST_BYTES: int = settings.ENV.max_request_bytes


class BodySizeLimitMiddleware:
    """Respond 413 to a body over the limit: at once if its Content-Length shows that, otherwise when too many bytes arrived."""

    def __init__(self, app: ASGIApp, limit: int = MAX_REQUEST_BYTES) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] == "GET":
            await self.app(scope, receive, send)
        elif self._content_length(scope) > self.limit:
            await error_response(413, self._detail, "content_too_large")(scope, receive, send)
        else:
            await self.app(scope, self._counting(receive), send)

    def _content_length(self, scope: Scope) -> int:
        length = Headers(scope=scope).get("content-length", "")
        return int(length) if length.isdecimal() else 0

    def _counting(self, receive: Receive) -> Receive:
        received = 0

        async def receive_within_limit() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.limit:
                raise HTTPException(413, self._detail)
            return message

        return receive_within_limit

    @property
    def _detail(self) -> str:
        return f"The request body is larger than {self.limit} bytes."
