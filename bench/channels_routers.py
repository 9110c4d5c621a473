"""FastAPI and Django behind Channels' own routers, served as `bench.channels_routers:application`."""

import django

django.setup()  # before anything that imports a model

from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.urls import path  # noqa: E402

from fastapi_app.main import app  # noqa: E402

app.root_path = "/api"
fastapi_route = path("api/", app)  # type: ignore[arg-type]  # django-stubs knows only views, not Channels' use of `path`
django_route = path("", get_asgi_application())  # type: ignore[arg-type]
application = ProtocolTypeRouter({"http": URLRouter([fastapi_route, django_route])})
