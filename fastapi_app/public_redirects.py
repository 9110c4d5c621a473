"""The Location of redirects. Starlette builds it from the Host header, which a proxy may replace with an internal name."""

from urllib.parse import urlsplit, urlunsplit

from django.conf import settings
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class PublicRedirectMiddleware:
    """ASGI middleware that builds the Location of redirects from `PUBLIC_URL`. Without it, the Location is a path."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_public_location(message: Message) -> None:
            if message["type"] == "http.response.start" and 300 <= message["status"] < 400:
                headers = MutableHeaders(raw=message["headers"])
                if "location" in headers:
                    headers["location"] = _public_location(headers["location"])
            await send(message)

        await self.app(scope, receive, send_with_public_location if scope["type"] == "http" else send)


def _public_location(location: str) -> str:
    path = urlunsplit(("", "", *urlsplit(location)[2:]))
    return (settings.ENV.public_url or "") + path
