"""The ASGI application: one router in front of Django and FastAPI. Every ASGI server loads it as `project.asgi:application`.

    /api and below       FastAPI: HTTP and WebSocket
    everything else      Django: the landing page, the admin, static files
    lifespan             FastAPI. Daphne sends no lifespan events, so the bridge sends them.

A request passes these layers, from the outside in: the lifespan, proxy headers, the request id, metrics, security headers, the
router. A request to FastAPI then passes HTTPS only, allowed hosts and the Origin check, and a WebSocket also passes close codes.
Health probes from HEALTH_ALLOWED_NETWORKS skip these checks. Django has its own middleware for hosts and HTTPS.
"""

import os

from django.core.asgi import get_asgi_application

os.umask(0o077)  # new files are readable only by their owner; manage.py sets the same umask
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django_app = get_asgi_application()  # sets Django up, so it must come before every import that loads a model

from django.conf import settings  # noqa: E402
from servestatic import ServeStaticASGI  # noqa: E402
from starlette.types import ASGIApp, Receive, Scope, Send  # noqa: E402

from fastapi_app.main import app as fastapi_app  # noqa: E402
from project.bridge.middleware.close_codes import CloseCodeMiddleware  # noqa: E402
from project.bridge.middleware.cross_origin import CrossOriginMiddleware  # noqa: E402
from project.bridge.middleware.error_responses import reject_websocket  # noqa: E402
from project.bridge.middleware.health_probes import HealthProbeMiddleware  # noqa: E402
from project.bridge.middleware.https_only import HTTPSOnlyMiddleware  # noqa: E402
from project.bridge.middleware.large_bodies import LargeBodyMiddleware  # noqa: E402
from project.bridge.middleware.proxy_headers import ProxyHeadersMiddleware  # noqa: E402
from project.bridge.middleware.request_id import RequestIdMiddleware  # noqa: E402
from project.bridge.middleware.security_headers import SecurityHeadersMiddleware  # noqa: E402
from project.bridge.middleware.trusted_hosts import TrustedHostMiddleware  # noqa: E402
from project.bridge.middleware.websocket_origin import WebSocketOriginMiddleware  # noqa: E402
from project.bridge.server.lifespan import LifespanUnderDaphne  # noqa: E402
from project.metrics.http import HttpMetricsMiddleware  # noqa: E402

HEALTH_PATHS = ("/api/health/live", "/api/health/ready")  # need neither TLS nor an allowed host for probes
LOCAL_PATHS = (*HEALTH_PATHS, "/api/metrics")  # need no TLS for requests from this machine

django_with_static: ASGIApp = ServeStaticASGI(django_app, root=settings.STATIC_ROOT, prefix=settings.STATIC_URL)
django_http: ASGIApp = LargeBodyMiddleware(django_with_static, limit=settings.MAX_ANONYMOUS_BODY_BYTES)
fastapi_http: ASGIApp = TrustedHostMiddleware(CrossOriginMiddleware(fastapi_app, trusted=settings.CORS_ORIGINS))
fastapi_websocket: ASGIApp = TrustedHostMiddleware(WebSocketOriginMiddleware(CloseCodeMiddleware(fastapi_app)))
if settings.SECURE_SSL_REDIRECT:  # for Django's URLs, Django's SecurityMiddleware requires HTTPS
    fastapi_http = HTTPSOnlyMiddleware(fastapi_http, probes=LOCAL_PATHS)
    fastapi_websocket = HTTPSOnlyMiddleware(fastapi_websocket)
fastapi_http = HealthProbeMiddleware(fastapi_http, fastapi_app, paths=HEALTH_PATHS, networks=settings.HEALTH_ALLOWED_NETWORKS)


async def router(scope: Scope, receive: Receive, send: Send) -> None:
    """Dispatch by scope type and path."""
    if scope["type"] == "lifespan":
        await fastapi_app(scope, receive, send)
        return
    is_http, path = scope["type"] == "http", scope["path"]
    if path == "/api" or path.startswith("/api/"):
        scope["root_path"] = "/api"  # `path` keeps the prefix, as ASGI requires
        app = fastapi_http if is_http else fastapi_websocket
    else:
        scope["root_path"] = ""  # Daphne copies `root_path` from the header Daphne-Root-Path, which any client can send
        app = django_http if is_http else reject_websocket
    await app(scope, receive, send)


secured = SecurityHeadersMiddleware(router, settings.SECURITY_HEADERS, hsts_seconds=settings.SECURE_HSTS_SECONDS)
measured: ASGIApp = HttpMetricsMiddleware(secured, static_prefix=settings.STATIC_URL)
application = LifespanUnderDaphne(ProxyHeadersMiddleware(RequestIdMiddleware(measured), settings.TRUSTED_PROXIES))
