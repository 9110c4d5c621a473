"""ASGI middleware that adds Django's protections to FastAPI: trusted hosts, proxies, HTTPS, security headers, Origin checks.

Needs the package fastapi. `cross_origin`, `trusted_hosts` and `websocket_origin` also need django. Reads the settings
`ALLOWED_HOSTS` and `CSRF_TRUSTED_ORIGINS`.
"""
