"""Django middleware that makes the logged-in user the actor of the changes that the audit trail records."""

from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.utils.decorators import sync_and_async_middleware

from project.audit.actor import acting_in


@sync_and_async_middleware
def audit_actor_middleware(get_response: Any) -> Any:
    """Return a middleware that sets the actor for the duration of a request, for a sync or an async chain."""

    def respond(request: HttpRequest) -> Any:
        with acting_in(request):
            return get_response(request)

    async def respond_async(request: HttpRequest) -> Any:
        with acting_in(request):
            return await get_response(request)

    return respond_async if iscoroutinefunction(get_response) else respond
