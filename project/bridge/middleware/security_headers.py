"""Security headers for all responses of Django and FastAPI.

Headers that matter only for HTML pages are added only to HTML pages, because adding one header takes as much time as the ASGI
router, or more. Headers that the response already has are kept, so a page that needs other sources, or that shows untrusted HTML,
can set its own policy.
"""

from collections.abc import Container, Iterable, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_SECURITY_POLICY = "Content-Security-Policy"
# These headers are added to all responses. A response that is not HTML may be embedded in a page (OWASP's REST Security Cheat
# Sheet), and an image or XML file may be opened directly.
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
    """Return a strict Content-Security-Policy with some directives changed, for example by `style_src="'self' data:"`."""
    changed = {name.replace("_", "-"): sources for name, sources in changes.items()}
    return "; ".join(f"{name} {sources}" for name, sources in {**_POLICY, **changed}.items())


def security_headers(policy: str) -> dict[str, str]:
    """Return the security headers, with `policy` as the Content-Security-Policy."""
    return {
        CONTENT_SECURITY_POLICY: policy,
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    }


class SecurityHeadersMiddleware:
    """ASGI middleware that adds `headers` to HTML pages, and the headers in `ALL_RESPONSES` to every response.

    If `hsts_seconds` is not 0, the middleware also adds `Strict-Transport-Security` to responses over TLS.
    """

    def __init__(self, app: ASGIApp, headers: Mapping[str, str], *, hsts_seconds: int = 0) -> None:
        self.app = app
        hsts = {"Strict-Transport-Security": f"max-age={hsts_seconds}"} if hsts_seconds else {}
        self._plain, self._tls = _HeaderSet(headers), _HeaderSet({**headers, **hsts}, ALL_RESPONSES | hsts.keys())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        added = self._tls if scope.get("scheme") == "https" else self._plain

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": added.merge_into(message.get("headers", ()))}
            await send(message)

        await self.app(scope, receive, send_with_headers)


class _HeaderSet:
    def __init__(self, headers: Mapping[str, str], for_all: Container[str] = ALL_RESPONSES) -> None:
        self._for_pages = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        self._for_all = [(name.lower().encode(), value.encode()) for name, value in headers.items() if name in for_all]

    def merge_into(self, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Return a response's own headers, and the headers of this set that the response does not have."""
        present = {bytes(name).lower(): value for name, value in headers}
        is_page = bytes(present.get(b"content-type", b"")).lower().startswith(HTML_TYPES)
        added = self._for_pages if is_page else self._for_all
        return [*headers, *(header for header in added if header[0] not in present)]
