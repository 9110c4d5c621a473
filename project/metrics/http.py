"""Metrics of HTTP requests and WebSockets, as ASGI middleware around Django and FastAPI.

Requests are counted by the template of their route, not by their path, so that the number of time series stays small.
"""

import time
from collections.abc import Awaitable, Callable, MutableMapping
from functools import lru_cache
from typing import Any

from prometheus_client import Gauge, Histogram

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER_METHOD, NO_ROUTE = "other", "none"
CLIENT_CLOSED, INTERNAL_ERROR = 499, 500  # 499: the client left before the response; as in nginx's logs
DJANGO_ROUTE = "django_route"  # key in the scope, set by project.metrics.django_routes
BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

request_seconds = Histogram(
    "mailrail_http_request_duration_seconds",
    "Time until the response to an HTTP request starts",
    ["method", "route", "status"],
    buckets=BUCKETS_SECONDS,
)
open_websockets = Gauge("mailrail_open_websockets", "Open WebSockets", multiprocess_mode="livesum")


_time_series = lru_cache(maxsize=4096)(request_seconds.labels)  # `labels` itself takes as long as several layers of middleware


class HttpMetricsMiddleware:
    """ASGI middleware that measures each request. `static_prefix` is the path below which Django serves static files."""

    def __init__(self, app: ASGIApp, *, static_prefix: str) -> None:
        self.app = app
        self._static_prefix = static_prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._measure(scope, receive, send)
        elif scope["type"] == "websocket":
            with open_websockets.track_inprogress():
                await self.app(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _measure(self, scope: Scope, receive: Receive, send: Send) -> None:
        started_at = time.perf_counter()
        is_answered = False

        def observe(status: int) -> None:
            nonlocal is_answered
            if not is_answered:
                is_answered = True
                method = scope["method"] if scope["method"] in METHODS else OTHER_METHOD
                _time_series(method, self._route(scope), status).observe(time.perf_counter() - started_at)

        async def send_and_observe(message: Message) -> None:
            if message["type"] == "http.response.start":
                observe(message["status"])
            await send(message)

        try:
            await self.app(scope, receive, send_and_observe)
        except Exception:
            observe(INTERNAL_ERROR)
            raise
        finally:
            observe(CLIENT_CLOSED)

    def _route(self, scope: Scope) -> str:
        """Return the template of the request's route, such as `/api/emails/{email_id}`."""
        if (route := scope.get("route")) is not None:
            return f"{scope.get('root_path', '')}{route.path}"
        if DJANGO_ROUTE in scope:
            return f"/{scope[DJANGO_ROUTE]}"
        if scope["path"].startswith(self._static_prefix):
            return self._static_prefix
        # Plain Starlette routes, such as the API documentation, have no `route`. Without parameters, the path is the template.
        return str(scope["path"]) if "endpoint" in scope and not scope.get("path_params") else NO_ROUTE
