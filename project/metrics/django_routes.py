"""Django middleware that stores the template of the matched route in the ASGI scope, for the metrics of requests."""

from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.utils.decorators import sync_and_async_middleware

from project.metrics.http import DJANGO_ROUTE


@sync_and_async_middleware
def django_route_middleware(get_response: Any) -> Any:
    """Return a middleware that stores the route after the response is made, for a sync or an async chain."""

    def respond(request: HttpRequest) -> Any:
        response = get_response(request)
        _store_route(request)
        return response

    async def respond_async(request: HttpRequest) -> Any:
        response = await get_response(request)
        _store_route(request)
        return response

    return respond_async if iscoroutinefunction(get_response) else respond


def _store_route(request: HttpRequest) -> None:
    scope = getattr(request, "scope", None)  # a request of Django's test client has no scope
    if scope is not None and request.resolver_match is not None:
        scope[DJANGO_ROUTE] = request.resolver_match.route
