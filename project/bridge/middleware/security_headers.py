"""Security headers on every answer of both halves.

What only a page heeds goes with pages alone: each header costs as much time as the ASGI router, or more.
A header that an answer brings itself stays as it is: a page that needs more, or that shows strangers' HTML, says so.
"""

from collections.abc import Container, Iterable, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_SECURITY_POLICY = "Content-Security-Policy"
# What is no page can be embedded by one (OWASP's REST Security Cheat Sheet), or opened by itself if it is an image or XML.
ALL_RESPONSES = frozenset({CONTENT_SECURITY_POLICY, "X-Content-Type-Options", "Referrer-Policy"})
HTML_TYPES = (b"text/html", b"application/xhtml+xml")
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


def content_security_policy(**changes: str) -> str:
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


class SecurityHeadersMiddleware:
    """An ASGI application: adds `headers` to pages, and those `FOR_ALL` to every answer.

    Over TLS, also `Strict-Transport-Security` for `hsts_seconds`, if any.
    """

    def __init__(self, app: ASGIApp, headers: Mapping[str, str], *, hsts_seconds: int = 0) -> None:
        self.app = app
        hsts = {"Strict-Transport-Security": f"max-age={hsts_seconds}"} if hsts_seconds else {}
        self._plain, self._tls = _HeaderSet(headers), _HeaderSet({**headers, **hsts}, ALL_RESPONSES | hsts.keys())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        ours = self._tls if scope.get("scheme") == "https" else self._plain

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": ours.beside(message.get("headers", ()))}
            await send(message)

        await self.app(scope, receive, send_with_headers)


class _HeaderSet:
    def __init__(self, headers: Mapping[str, str], for_all: Container[str] = ALL_RESPONSES) -> None:
        self._of_pages = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        self._of_all = [(name.lower().encode(), value.encode()) for name, value in headers.items() if name in for_all]

    def beside(self, theirs: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """An answer's own headers, and those of these that it does not bring."""
        said = {bytes(name).lower(): value for name, value in theirs}
        ours = self._of_pages if bytes(said.get(b"content-type", b"")).lower().startswith(HTML_TYPES) else self._of_all
        return [*theirs, *(header for header in ours if header[0] not in said)]
