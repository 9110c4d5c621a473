"""Django middleware that records the activity of sessions, which extends them."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.deprecation import MiddlewareMixin

from project.accounts.sessions import record_activity


class SessionActivityMiddleware(MiddlewareMixin):
    """Records the activity of a session after the response, when a login has created the session, or a logout has ended it."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Record the activity. Without a session, `Vary: Cookie` must not be added, so the session is not even looked at."""
        if settings.SESSION_COOKIE_NAME in request.COOKIES or request.session.modified:
            record_activity(request)
        return response
