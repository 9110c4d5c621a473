"""ASGI middleware that gives FastAPI what Django has: trusted hosts, proxies, HTTPS, security headers, Origin checks.

Needs fastapi (Starlette). `trusted_hosts` reads `ALLOWED_HOSTS`; `websocket_origin` also `CSRF_TRUSTED_ORIGINS`.
"""
