"""The map of the system: what is served by whom. Every ASGI server starts here, with `project.asgi:application`.

/api and below       FastAPI, HTTP and WebSocket
everything else      Django: the landing page, the admin, static files
the lifespan         FastAPI's; under Daphne, which sends no lifespan events, the bridge provides them
"""

import os

from django.core.asgi import get_asgi_application

os.umask(0o077)  # as in manage.py, for servers that start here
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django_app = get_asgi_application()  # before anything that imports a model

from django.conf import settings  # noqa: E402
from servestatic import ServeStaticASGI  # noqa: E402
from starlette.types import ASGIApp, Receive, Scope, Send  # noqa: E402

from fastapi_app.main import app as fastapi_app  # noqa: E402
from project.bridge.middleware.close_codes import CloseCodeMiddleware  # noqa: E402
from project.bridge.middleware.error_responses import reject_websocket  # noqa: E402
from project.bridge.middleware.https_only import HTTPSOnlyMiddleware  # noqa: E402
from project.bridge.middleware.proxy_headers import ProxyHeadersMiddleware  # noqa: E402
from project.bridge.middleware.security_headers import SecurityHeadersMiddleware  # noqa: E402
from project.bridge.middleware.trusted_hosts import TrustedHostMiddleware  # noqa: E402
from project.bridge.middleware.websocket_origin import WebSocketOriginMiddleware  # noqa: E402
from project.bridge.server.lifespan import LifespanUnderDaphne  # noqa: E402

django_site = ServeStaticASGI(django_app, root=settings.STATIC_ROOT, prefix=settings.STATIC_URL)
fastapi_requests: ASGIApp = TrustedHostMiddleware(fastapi_app)
fastapi_sockets: ASGIApp = TrustedHostMiddleware(WebSocketOriginMiddleware(CloseCodeMiddleware(fastapi_app)))
if settings.SECURE_SSL_REDIRECT:  # Django sees to its half
    fastapi_requests = HTTPSOnlyMiddleware(fastapi_requests, probes=("/api/health/live", "/api/health/ready", "/api/metrics"))
    fastapi_sockets = HTTPSOnlyMiddleware(fastapi_sockets)


async def router(scope: Scope, receive: Receive, send: Send) -> None:
    """Look at the type and the path, and hand over."""
    kind = scope["type"]
    if kind == "lifespan":
        await fastapi_app(scope, receive, send)
        return
    path = scope["path"]
    if path.startswith("/api/") or path == "/api":
        scope["root_path"] = "/api"  # the path stays whole: routes, docs and `servers` agree on what is theirs
        await (fastapi_requests if kind == "http" else fastapi_sockets)(scope, receive, send)
    else:
        scope["root_path"] = ""  # Daphne takes it from a header that any client can send (Daphne-Root-Path)
        await (django_site if kind == "http" else reject_websocket)(scope, receive, send)


guarded = SecurityHeadersMiddleware(router, settings.SECURITY_HEADERS, hsts_seconds=settings.SECURE_HSTS_SECONDS)
application = LifespanUnderDaphne(ProxyHeadersMiddleware(guarded, settings.TRUSTED_PROXIES))
