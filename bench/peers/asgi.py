"""The peers' ASGI application, served by plain Daphne as `bench.peers.asgi:application`."""

from django.core.asgi import get_asgi_application

application = get_asgi_application()
