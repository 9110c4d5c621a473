"""Django middleware that records the activity of sessions, and that shows a page if a login is refused for now."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.deprecation import MiddlewareMixin

from project.accounts.hashing import LoginBusy
from project.accounts.lockout import LockedOut, cancel_attempt, lockout_response
from project.accounts.sessions import record_activity
from project.limits.rate_limits import RateLimited


class SessionActivityMiddleware(MiddlewareMixin):
    """Records the activity of a session after the response, when a login has created the session, or a logout has ended it."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Record the activity. Without a session, `Vary: Cookie` must not be added, so the session is not even looked at."""
        if settings.SESSION_COOKIE_NAME in request.COOKIES or request.session.modified:
            record_activity(request)
        return response


class RefusedLoginMiddleware(MiddlewareMixin):
    """Shows a page with the reason if a password or code cannot be checked now, on any page that does so."""

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Return the page with status 429, or 503 if the server is busy. Other errors are not handled."""
        if isinstance(error, LoginBusy):
            cancel_attempt(request)
            return lockout_response(request, error, status=503)
        return lockout_response(request, error) if isinstance(error, LockedOut | RateLimited) else None
