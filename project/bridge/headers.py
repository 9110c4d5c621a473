"""Security headers on every answer of both halves.

A header that an answer brings itself stays as it is: a page that needs more, or that shows strangers' HTML, says so.
"""

from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_SECURITY_POLICY = "Content-Security-Policy"
_POLICY = {
    "default-src": "'self'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "frame-src": "'self'",
    "object-src": "'none'",
    "base-uri": "'none'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
}


def content_policy(**changes: str) -> str:
    """The Content-Security-Policy of a page of ours, with other sources for the directives named: `style_src="'self' data:"`."""
    changed = {name.replace("_", "-"): sources for name, sources in changes.items()}
    return "; ".join(f"{name} {sources}" for name, sources in {**_POLICY, **changed}.items())


def security_headers(policy: str) -> dict[str, str]:
    """What tells browsers to take a page for no more than it is."""
    return {
        CONTENT_SECURITY_POLICY: policy,
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    }


class SecurityHeaders:
    """An ASGI application: adds `headers` to each answer, and over TLS `Strict-Transport-Security` for `hsts_seconds`, if any."""

    def __init__(self, app: ASGIApp, headers: Mapping[str, str], *, hsts_seconds: int = 0) -> None:
        self.app = app
        self._plain = _encoded(headers)
        hsts = {"Strict-Transport-Security": f"max-age={hsts_seconds}"} if hsts_seconds else {}
        self._tls = _encoded({**headers, **hsts})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        ours = self._tls if scope.get("scheme") == "https" else self._plain

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                theirs = message.get("headers", ())
                said = {bytes(name).lower() for name, _value in theirs}
                message = {**message, "headers": [*theirs, *(header for header in ours if header[0] not in said)]}
            await send(message)

        await self.app(scope, receive, send_with_headers)


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]
