"""Failed logins lock a user, and an address, for a while (django-axes): in the admin and for access tokens alike."""

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
    """There were too many failed logins of this user, or from this address."""

    code = "locked_out"


def client_ip(request: HttpRequest) -> str | None:
    """Where a login comes from, as it is counted."""
    return rate_limit_network(request.META.get("REMOTE_ADDR"))


def login_username(request: HttpRequest, credentials: Mapping[str, str] | None = None) -> str | None:
    """Whose login it is, as it is counted. No user's name is longer, and PostgreSQL stores no text that is too long."""
    username = (credentials or request.POST).get("username")
    return username and username[:MAX_USERNAME_LENGTH]


def require_unlocked(request: HttpRequest, username: str) -> None:
    """After a login has failed: raise `LockedOut` if that was for too many before it, or if it was one too many."""
    if getattr(request, "axes_locked_out", False):
        raise LockedOut(
            "Too many failed logins of this user, or from this address.", retry_after=_seconds_until_unlocked(request, username)
        )


def reset_failures(request: HttpRequest, user: User) -> None:
    """A login has succeeded, and nobody tells of it by Django's signal, since there is no session."""
    AxesProxyHandler.user_logged_in(sender=User, request=request, user=user)


def lockout_response(request: HttpRequest, *_told: object) -> HttpResponse:
    """What the admin's login answers while it is locked."""
    username = (getattr(request, "axes_credentials", None) or {}).get("username", "")
    refusal = LockedOut("Too many failed logins.", retry_after=_seconds_until_unlocked(request, username))
    context = {
        **admin.site.each_context(request),
        "title": "Locked for a while",
        "minutes": ceil(refusal.retry_after_seconds / 60),
    }
    page = render_to_string("admin/locked_out.html", context, request)
    return HttpResponse(page, status=429, headers=refusal.headers)


def _seconds_until_unlocked(request: HttpRequest, username: str) -> float:
    """Seconds until the newest failure counts no more, which is when the lock has ended whatever else was counted."""
    attempts = AccessAttempt.objects.filter(Q(username=username) | Q(ip_address=client_ip(request)))
    newest = attempts.aggregate(at=Max("attempt_time"))["at"] or timezone.now()
    seconds: float = (newest + settings.AXES_COOLOFF_TIME - timezone.now()).total_seconds()
    return seconds
