"""CORS: lets the pages of other origins call the API with a token (Fetch standard, section 3.2). Off by default."""

from django.conf import settings
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
REQUEST_HEADERS = ("Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "X-Request-ID")
EXPOSED_HEADERS = (
    "Idempotent-Replayed",
    "RateLimit-Limit",
    "RateLimit-Remaining",
    "RateLimit-Reset",
    "Retry-After",
    "WWW-Authenticate",
    "X-Request-ID",
)
MAX_AGE_SECONDS = 600  # how long a browser may remember the answer to a preflight request


def cors_middleware() -> list[Middleware]:
    """Return the middleware for `CORS_ORIGINS`, or nothing without such origins.

    Cookies are never allowed: a session belongs to the pages of this server.
    """
    if not settings.CORS_ORIGINS:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=settings.CORS_ORIGINS,
            allow_methods=METHODS,
            allow_headers=REQUEST_HEADERS,
            expose_headers=EXPOSED_HEADERS,
            allow_credentials=False,
            max_age=MAX_AGE_SECONDS,
        )
    ]
