"""Login lockout: after too many failed logins, further logins are refused for a while.

The admin and the API use it for passwords and for two-factor codes. docs/decisions/0029-login-lockout.md explains the limits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from typing import Any

from django.conf import settings
from django.contrib import admin, auth
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.signals import user_logged_in
from django.core.exceptions import PermissionDenied
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils import timezone

from project.accounts.hashing import LoginBusy
from project.accounts.known_devices import known_device
from project.accounts.login_counters import AttemptLimit, AttemptStatus, count_attempt, forgive_attempt, reset_failures
from project.bridge.database.transactions import call_in_transaction
from project.errors import RetryLater
from project.limits.client_network import rate_limit_network

MAX_USERNAME_LENGTH = 150  # characters
PER_USER_WINDOW_FACTOR = 12  # the limit per user is slower than the others: by default, it locks for an hour
LOCKED_OUT = "Too many failed logins for this user or from this IP address."


class LockedOut(RetryLater):
    """There were too many failed logins for this user or from this IP address."""

    code = "locked_out"


@dataclass
class LoginAttempt:
    """An attempt that was counted before its password or code is checked. It counts as failed until it is settled."""

    limits: Sequence[AttemptLimit]
    status: AttemptStatus
    is_settled: bool = False


class LockoutBackend:
    """Authentication backend that counts each attempt, and refuses it if a limit is reached. It must be the first backend.

    It has no base class, because it loads no users and grants no permissions.
    """

    def authenticate(self, request: HttpRequest | None, username: str | None = None, **_credentials: Any) -> None:
        """Count the attempt. Raises `PermissionDenied` if it is refused, so that no other backend checks the password."""
        try:
            begin_attempt(request or HttpRequest(), username or "")
        except LockedOut:
            raise PermissionDenied from None


def check_password(request: HttpRequest, username: str, password: str) -> AbstractBaseUser | None:
    """Count an attempt, and return the user if the password is correct. Raises `LoginBusy`. The caller settles the attempt."""
    try:
        return auth.authenticate(request, username=username, password=password)
    except LoginBusy:
        cancel_attempt(request)
        raise


def begin_attempt(request: HttpRequest, username: str) -> None:
    """Count an attempt to log in. Raises `LockedOut` if a limit was reached before."""
    if not settings.LOGIN_MAX_FAILURES:
        return
    limits = _limits(request, username)
    attempt = LoginAttempt(limits, call_in_transaction(count_attempt, limits, now=timezone.now()))
    request.login_attempt = attempt  # type: ignore[attr-defined]  # our own attribute
    if not attempt.status.is_allowed:
        raise _locked_out(attempt.status.retry_at)


def complete_attempt(request: HttpRequest) -> None:
    """Settle a successful attempt: forget the failures of this user from this IP address or device, but of no other user."""
    if attempt := _open_attempt(request):
        own, *others = attempt.limits
        call_in_transaction(_settle, others, own)


def cancel_attempt(request: HttpRequest) -> None:
    """Settle an attempt that was neither successful nor failed, such as a correct password without the two-factor code."""
    if attempt := _open_attempt(request):
        call_in_transaction(_settle, attempt.limits, None)


def require_unlocked(request: HttpRequest) -> None:
    """Raise `LockedOut` if the attempt was refused, or if it failed and reached a limit."""
    if error := lockout_of(request):
        raise error


def lockout_of(request: HttpRequest) -> LockedOut | None:
    """Return the error if the attempt was refused, or if it failed and reached a limit."""
    attempt: LoginAttempt | None = getattr(request, "login_attempt", None)
    is_locked = attempt is not None and not attempt.is_settled and attempt.status.retry_at is not None
    return _locked_out(attempt.status.retry_at) if attempt is not None and is_locked else None


def is_refused(request: HttpRequest | None) -> bool:
    """Return whether the attempt was refused without a check of the password or code."""
    attempt: LoginAttempt | None = getattr(request, "login_attempt", None)
    return attempt is not None and not attempt.status.is_allowed


def client_ip(request: HttpRequest) -> str | None:
    """Return the client's IPv4 address or IPv6 network, for which failed logins are counted."""
    return rate_limit_network(request.META.get("REMOTE_ADDR"))


def lockout_response(request: HttpRequest, error: RetryLater, *, status: int = 429) -> HttpResponse:
    """Return the page that the admin shows if a login is refused."""
    context = {
        **admin.site.each_context(request),
        "title": "Too many login attempts" if status == 429 else "Try again later",
        "reason": error.detail,
        "minutes": ceil(error.retry_after_seconds / 60),
    }
    page = render_to_string("admin/locked_out.html", context, request)
    return HttpResponse(page, status=status, headers=error.headers)


def _limits(request: HttpRequest, username: str) -> tuple[AttemptLimit, ...]:
    """Return the limits of an attempt. The first one is forgotten after a successful attempt.

    A known device has a limit of its own, so that strangers cannot lock the user out on it.
    """
    window, failures = settings.LOGIN_LOCKOUT, settings.LOGIN_MAX_FAILURES
    if device := known_device(request, username):
        return (AttemptLimit.of("device", username, device, limit=failures, window=window),)
    address = client_ip(request) or "unknown"
    others = (
        AttemptLimit.of("user", username, limit=settings.LOGIN_MAX_FAILURES_PER_USER, window=window * PER_USER_WINDOW_FACTOR),
        AttemptLimit.of("address", address, limit=settings.LOGIN_MAX_FAILURES_PER_ADDRESS, window=window),
    )
    own = AttemptLimit.of("user and address", username, address, limit=failures, window=window)
    return (own, *(each for each in others if each.limit))


def _open_attempt(request: HttpRequest) -> LoginAttempt | None:
    """Return the attempt if it is allowed and not settled, and mark it as settled."""
    attempt: LoginAttempt | None = getattr(request, "login_attempt", None)
    if attempt is None or attempt.is_settled or not attempt.status.is_allowed:
        return None
    attempt.is_settled = True
    return attempt


def _settle(forgiven: Sequence[AttemptLimit], reset: AttemptLimit | None) -> None:
    forgive_attempt(forgiven)
    if reset is not None:
        reset_failures(reset)


def _locked_out(retry_at: datetime | None) -> LockedOut:
    seconds = 0.0 if retry_at is None else (retry_at - timezone.now()).total_seconds()
    return LockedOut(LOCKED_OUT, retry_after=seconds)


@receiver(user_logged_in)
def _on_login(request: HttpRequest | None, **_kwargs: Any) -> None:
    if request is not None:
        complete_attempt(request)
