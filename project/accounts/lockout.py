"""Login lockout (django-axes): after too many failed logins, a user or an IP address cannot log in for a while.

The admin and the API use it.
"""

from collections.abc import Mapping
from math import ceil

from axes.handlers.proxy import AxesProxyHandler
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib import admin
from django.db.models import Max, Q
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils import timezone

from project.accounts.models import User
from project.errors import RetryLater
from project.limits.client_network import rate_limit_network

MAX_USERNAME_LENGTH = 150  # characters


class LockedOut(RetryLater):
    """There were too many failed logins for this user or from this IP address."""

    code = "locked_out"


def client_ip(request: HttpRequest) -> str | None:
    """Return the client's IPv4 address or IPv6 network, for which failed logins are counted."""
    return rate_limit_network(request.META.get("REMOTE_ADDR"))


def login_username(request: HttpRequest, credentials: Mapping[str, str] | None = None) -> str | None:
    """Return the username for which failed logins are counted, truncated to the column's size, which PostgreSQL enforces."""
    username = (credentials or request.POST).get("username")
    return username and username[:MAX_USERNAME_LENGTH]


def require_unlocked(request: HttpRequest, username: str) -> None:
    """Raise `LockedOut` if this login was rejected because of earlier failures, or if this login failed and reached the limit."""
    if getattr(request, "axes_locked_out", False):
        raise LockedOut(
            "Too many failed logins for this user or from this IP address.",
            retry_after=_seconds_until_unlocked(request, username),
        )


def reset_failures(request: HttpRequest, user: User) -> None:
    """Reset the failures after a successful login without a session, for which Django sends no `user_logged_in` signal."""
    AxesProxyHandler.user_logged_in(sender=User, request=request, user=user)


def lockout_response(request: HttpRequest, *_args: object) -> HttpResponse:
    """Return the page that the admin shows while a login is locked, with status 429."""
    username = (getattr(request, "axes_credentials", None) or {}).get("username", "")
    error = LockedOut("Too many failed logins.", retry_after=_seconds_until_unlocked(request, username))
    context = {
        **admin.site.each_context(request),
        "title": "Too many failed logins",
        "minutes": ceil(error.retry_after_seconds / 60),
    }
    page = render_to_string("admin/locked_out.html", context, request)
    return HttpResponse(page, status=429, headers=error.headers)


def _seconds_until_unlocked(request: HttpRequest, username: str) -> float:
    """Return the seconds until the newest failed login expires. The lockout has ended by then."""
    attempts = AccessAttempt.objects.filter(Q(username=username) | Q(ip_address=client_ip(request)))
    newest = attempts.aggregate(at=Max("attempt_time"))["at"] or timezone.now()
    seconds: float = (newest + settings.AXES_COOLOFF_TIME - timezone.now()).total_seconds()
    return seconds
